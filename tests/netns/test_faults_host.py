"""Hosts that do not let us do what we need: each says so in its status, and everything else goes on."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import faults
import labs
import pytest
import yaml

from calicopy.workload import host_interface_name

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

# What each host is like. All but `plain` and `writable` have /proc/sys read-only, as in a container.
NODES = ("plain", "weak", "closed", "writable", "nonft")
SETTINGS = {"net.ipv4.ip_forward": 0, "net.ipv4.conf.default.rp_filter": 1}
CLUSTER: dict[str, Any] = {
    "nodes": [
        {"name": name, "address": f"192.0.2.{number}/24", "blocks": [f"10.244.{number}.0/26"]}
        for number, name in enumerate(NODES, start=1)
    ],
    "pools": [{"name": "pods", "cidr": "10.244.0.0/16", "nat_outgoing": True}],
    "agent": {"resync_interval_s": 1},
}  # fmt: skip
BLOCKS = {block for node in CLUSTER["nodes"] for block in node["blocks"]}
SUPERVISOR = "calicopy node --config /etc/calicopy/cluster.yaml >>/proc/1/fd/1 2>&1 </dev/null &"


def host(number: int, **more: Any) -> dict[str, Any]:
    """A node with forwarding off and strict reverse-path filtering."""
    return labs.node(f"192.0.2.{number}/24", sysctls=SETTINGS, **more)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    plan = {
        "plain": labs.node("192.0.2.1/24"),
        "weak": host(2, cmd="sleep infinity"),
        "closed": host(3),
        "writable": host(4, privileged=True),
        "nonft": labs.node("192.0.2.5/24", cmd="sleep infinity"),
    }
    directory = tmp_path_factory.mktemp("lab")
    topology = labs.one_ethernet(f"fh{os.getpid()}", plan)
    with labs.running(directory, topology, files={"cluster.yaml": yaml.safe_dump(CLUSTER)}, mgmt=False) as made:
        made.run("weak", "sh", "-c", f"setpriv --bounding-set=-net_admin --inh-caps=-net_admin {SUPERVISOR}")
        # Everything that a host has but nft.
        made.run("nonft", "sh", "-c", "mkdir /tmp/bin && ln -sf /usr/bin/* /usr/sbin/* /tmp/bin/ && rm /tmp/bin/nft")
        made.run("nonft", "sh", "-c", f"PATH=$(dirname $(command -v calicopy)):/tmp/bin {SUPERVISOR}")
        for name in NODES:
            made.wait_established(name, *(set(NODES) - {name}), within=60)
        yield made


def setting(lab: labs.TestLab, node: str, name: str) -> int:
    return int(lab.run(node, "cat", f"/proc/sys/net/ipv4/{name}"))


def problem(lab: labs.TestLab, node: str, component: str) -> str:
    """What `calicopy status` says is wrong there, once it says something."""

    def told() -> str:
        found = (lab.status(node) or {"problems": []})["problems"]
        return "\n".join(f"{one['object']}: {one['reason']['message']}" for one in found
                         if one["component"] == component)

    return str(labs.wait_until(told, what=f"{node} says what is wrong with {component}"))


def test_where_proc_sys_is_writable_forwarding_and_loose_filtering_are_set_and_kept(lab: labs.TestLab) -> None:
    lab.wait_healthy("writable")
    assert setting(lab, "writable", "ip_forward") == 1
    assert setting(lab, "writable", "conf/eth1/rp_filter") == 2
    lab.run("writable", "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward")
    lab.run("writable", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth1/rp_filter")
    labs.wait_until(
        lambda: setting(lab, "writable", "ip_forward") == 1
        and setting(lab, "writable", "conf/eth1/rp_filter") == 2,
        what="what somebody changed is set again",
    )


def test_where_proc_sys_is_read_only_the_devices_are_set_over_netlink_and_pods_reach_each_other(
    lab: labs.TestLab
) -> None:
    lab.wait_healthy("closed")
    assert setting(lab, "closed", "ip_forward") == 0
    assert (setting(lab, "closed", "conf/eth1/forwarding"), setting(lab, "closed", "conf/eth1/rp_filter")) == (1, 2)
    here, there = lab.pod("closed", "pod"), lab.pod("plain", "pod")
    for node, target in (("closed", there), ("plain", here)):
        lab.run(node, "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", target)


def test_what_the_host_switches_off_behind_a_read_only_proc_sys_is_on_again_for_pods_too(lab: labs.TestLab) -> None:
    # The node cannot write there, the host can. Any writing of ip_forward sets `forwarding` of every device.
    for name, value in (("ip_forward", 1), ("ip_forward", 0), ("conf/eth1/rp_filter", 1)):
        write = f"echo {value} >/proc/sys/net/ipv4/{name}"
        subprocess.run(["ip", "netns", "exec", f"clab-{lab.topology.name.partition('.')[0]}-closed", "sh", "-c", write],
                       check=True)
    workload = f"conf/{host_interface_name('pod')}/forwarding"
    labs.wait_until(
        lambda: [setting(lab, "closed", name) for name in (workload, "conf/eth1/forwarding", "conf/eth1/rp_filter")]
        == [1, 1, 2],
        what="the devices forward again",
    )
    assert setting(lab, "closed", "ip_forward") == 0
    (there,) = lab.cli("plain", "workload", "list")["items"]
    lab.run("closed", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", there["addresses"][0])


def test_without_nft_the_status_says_what_that_costs_until_it_is_installed_and_all_else_works(
    lab: labs.TestLab
) -> None:
    told = problem(lab, "nonft", "nft")
    assert "the nft command (package nftables) is missing" in told
    assert "pods do not leave with the node's address (nat_outgoing)" in told
    assert "encapsulated packets are taken from anybody" in told
    status = lab.status("nonft")
    assert {one["component"] for one in status["problems"]} == {"nft"}
    assert [one["stranger_packets"] for one in status["tunnels"]] == [None] * len(status["tunnels"])
    labs.wait_until(lambda: lab.status("nonft")["fib"]["installed"] == len(NODES), what="all routes are there")
    lab.run("nonft", "sh", "-c", "ln -s $(command -v nft) /tmp/bin/nft")
    lab.wait_healthy("nonft")
    assert "masquerade" in lab.run("nonft", "nft", "list", "table", "inet", "calicopy")


def test_without_cap_net_admin_sessions_stay_and_the_status_says_what_cannot_be_done(lab: labs.TestLab) -> None:
    before = lab.pids("weak", "calicopy", "agent")
    told = problem(lab, "weak", "kernel")
    assert "rtnetlink: CAP_NET_ADMIN is missing: no route, tunnel or setting can be changed" in told
    settings = problem(lab, "weak", "sysctl")
    for name in ("net.ipv4.ip_forward", "net.ipv4.conf.eth1.forwarding", "net.ipv4.conf.eth1.rp_filter"):
        assert name in settings
    assert re.search("Read-only file system; over netlink: .*Operation not permitted", settings)
    assert "not permitted" in problem(lab, "weak", "nft")
    assert lab.kernel_routes("weak") == {}
    labs.wait_until(lambda: lab.status("weak")["counters"].get("fib.writes_failed"), what="failed writes are counted")
    assert "fib.writes_failed" in lab.run("weak", "calicopy", "status").split("Losses")[1].splitlines()[0]
    assert "10.244.2.0/26" in lab.kernel_routes("plain"), "the others know its block all the same"
    assert lab.pids("weak", "calicopy", "agent") == before, "nothing crashes"


def test_with_cap_net_admin_all_of_it_is_put_right(lab: labs.TestLab) -> None:
    faults.kill_all(lab, "weak")
    faults.start_supervisor(lab, "weak")
    lab.wait_healthy("weak", within=60)
    labs.wait_until(lambda: lab.kernel_routes("weak").keys() >= BLOCKS, what="the routes are there")
    assert "masquerade" in lab.run("weak", "nft", "list", "table", "inet", "calicopy")
    assert setting(lab, "weak", "conf/eth1/rp_filter") == 2
