"""Encapsulation `udp`: a forwarder in user space between a TUN device and a UDP socket. Standard library only.

Theory of operation: the kernel's routes are the only truth. A pod's packet that the kernel routes to the TUN device is
read here, the kernel is asked which gateway the route to its destination has, and the packet goes to that node as the
payload of a datagram. What comes in from a node is written to the device. No state is kept that a new process would
miss, so it may be killed and started at any time, and neither the agent nor the speaker is needed while it runs.
"""

SETTINGS_FILE = "udp.settings"
"""In the run directory: what the agent asks of the forwarder, there as long as the cluster file wants udp."""
STATUS_FILE = "udp.status"
"""In the run directory: what the forwarder says of itself."""
