"""Pods on two nodes of a lab: a ping and iperf3 between them, with what it came to in words."""
from __future__ import annotations

import json
import re
from ipaddress import ip_address

import labs

POD = "pod"
IN_POD = ("ip", "netns", "exec", POD)


def attach(lab: labs.TestLab, node: str) -> dict[int, str]:
    """A pod on a node; its address of each IP version."""
    return {ip_address(address).version: address for address in lab.attach(node, POD)}


def compare(lab: labs.TestLab, source: str, target: str, address: str, *, within: float = 30.0) -> str:
    """Ping, then TCP for a second, from the pod of one node to the address of that of another; a line about both."""
    def answers() -> str:
        done = lab.try_run(source, *IN_POD, "ping", "-c", "3", "-i", "0.2", "-W", "2", address)
        return str(done.stdout) if " 0% packet loss" in done.stdout else ""

    pinged = labs.wait_until(answers, within=within, what=f"{source} reaches {address} on {target}")
    lab.run(target, *IN_POD, "iperf3", "--server", "--one-off", "--daemon")
    shown = labs.wait_until(
        lambda: lab.try_run(source, *IN_POD, "iperf3", "--client", address, "--time", "1", "--json").stdout,
        within=within, what=f"{source} sends to {target}",
    )  # fmt: skip
    end = json.loads(shown)["end"]
    assert end, shown
    rate = end["sum_received"]["bits_per_second"] / 1e6
    assert rate > 1, shown
    took = re.search(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)", pinged)
    assert took, pinged
    return f"{source} > {target} {address}: ping {took[1]} ms, iperf3 {rate:.0f} Mbit/s"
