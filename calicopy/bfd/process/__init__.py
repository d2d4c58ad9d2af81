"""`calicopy bfd-process`: holds the BFD sessions, and takes next hops out of use when one goes Down.

Theory of operation: a process of its own, so that a long step of the agent never looks like a dead path, and neither
started nor ended by the agent. The agent writes what it wants into two files and pokes this process over its socket;
what the process knows it keeps in a third, which a new process goes on from. Standard library only, and little of that.
"""

SESSIONS_FILE = "bfd.sessions"
"""In the run directory: the sessions that the agent wants, there as long as it wants any."""
TABLE_FILE = "bfd.table"
"""In the run directory: the nexthop objects and groups of the kernel that lead to the next hops."""
STATE_FILE = "bfd.state"
"""In the run directory: what the process knows of its sessions; see `calicopy.bfd.process.state`."""
SOCKET_FILE = "bfd.sock"
"""In the run directory: where the agent attaches; see `calicopy.bfd.process.settings` for the lines."""
