"""A mesh in which processes are killed, a node loses its power, the file changes, and clients misbehave."""
from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import faults
import grpc
import labs
import pytest

from calicopy.v1 import (
    ipam_pb2,
    ipam_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    watch_pb2,
    watch_pb2_grpc,
    workload_pb2,
    workload_pb2_grpc,
)

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

NODES = ("n1", "n2", "n3")  # n3 is the one that things happen to
HOLD_TIME_S = 6
NODE_LINES = {name: f"  - {{name: {name}, address: 192.0.2.{name[1]}/24}}\n" for name in NODES}
POOL_LINES = {
    "pods": "  - {name: pods, cidr: 10.244.0.0/16}\n",
    "small": "  - {name: small, cidr: 10.245.0.0/28, block_size: 30}\n",  # four blocks of four addresses
}


def cluster(*, nodes: tuple[str, ...] = NODES, pools: tuple[str, ...] = ("pods", "small")) -> str:
    """The cluster file."""
    return (
        "nodes:\n" + "".join(NODE_LINES[name] for name in nodes)
        + "pools:\n" + "".join(POOL_LINES[name] for name in pools)
        + f"bgp: {{hold_time_s: {HOLD_TIME_S}}}\nagent: {{socket_group: nogroup}}\n"
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """Three nodes. PID 1 of n3 is no process of ours, so that all of ours can die."""
    plan = {name: labs.node(f"192.0.2.{name[1]}/24") for name in NODES}
    plan["n3"]["cmd"] = "sleep infinity"
    topology = labs.one_ethernet(f"fp{os.getpid()}", plan)
    with labs.running(tmp_path_factory.mktemp("lab"), topology, files={"cluster.yaml": cluster()}, mgmt=False) as made:
        made.calicopy = NODES
        faults.start_supervisor(made, "n3")
        made.wait_healthy(*NODES, within=60)
        yield made


@pytest.fixture(scope="module")
def pods(lab: labs.TestLab) -> dict[str, str]:
    """Node -> address of its pod, which is named `pod`."""
    return {node: lab.pod(node, "pod") for node in NODES}


@pytest.fixture
def flood(lab: labs.TestLab, pods: dict[str, str], tmp_path: Path) -> Iterator[faults.Flood]:
    """Pings between the pods of n1 and n3 in both directions. At the end none was lost, no route or nexthop changed
    on any node, and no peer took a node for dead.
    """
    before, flood = faults.downs(lab, *NODES), faults.Flood(lab, tmp_path, NODES)
    flood.start("n1", pods["n3"])
    flood.start("n3", pods["n1"])
    yield flood
    assert flood.stop() == (0, [])
    assert faults.downs(lab, *NODES) == before


def test_killing_the_supervisor_under_a_ping_flood_changes_nothing_and_the_next_one_adopts(
    lab: labs.TestLab, flood: faults.Flood
) -> None:
    services = (faults.BFD, ("calicopy", "agent"), ("speaker.unit",), ("bridge.py",))
    kept = {words: lab.pids("n3", *words) for words in services}
    faults.kill_all(lab, "n3", words=("calicopy", "node"))
    assert {words: lab.pids("n3", *words) for words in kept} == kept
    faults.start_supervisor(lab, "n3")
    labs.wait_until(lambda: lab.pids("n3", "calicopy", "node"), what="the next supervisor runs")
    assert {words: lab.pids("n3", *words) for words in kept} == kept

    for words in (faults.BFD, ("calicopy", "agent")):  # the new one looks after what it adopted
        lab.restart("n3", *words)
    lab.wait_healthy(*NODES, within=60)


def test_killing_each_process_under_a_ping_flood_loses_no_packet_and_changes_no_route(
    lab: labs.TestLab, flood: faults.Flood
) -> None:
    for words in (("bridge.py",), faults.BFD, ("speaker.unit",)):  # ExaBGP ends with its bridge
        lab.restart("n3", *words)
    lab.wait_healthy(*NODES, within=60)


def test_killing_all_but_bfd_under_a_ping_flood_loses_no_packet_and_changes_no_route(
    lab: labs.TestLab, flood: faults.Flood
) -> None:
    faults.kill_all(lab, "n3", but=faults.BFD)
    labs.wait_until(lambda: not {"n3"} & lab.established("n1"), what="n1 misses n3")
    faults.start_supervisor(lab, "n3")
    lab.wait_healthy(*NODES, within=60)


def test_a_planned_stop_under_a_ping_flood_is_no_fault_to_the_peers(lab: labs.TestLab, flood: faults.Flood) -> None:
    lab.kill("n3", "calicopy", "node", number=signal.SIGTERM)
    labs.wait_until(lambda: not lab.pids("n3", *faults.ALL), what="all processes of n3 have ended")
    faults.start_supervisor(lab, "n3")
    lab.wait_healthy(*NODES, within=60)


def test_killing_agents_and_speakers_of_all_nodes_at_once_loses_no_packet_and_changes_no_route(
    lab: labs.TestLab, flood: faults.Flood
) -> None:
    before = {node: lab.pids(node, "calicopy", "agent") for node in NODES}
    kinds = (("calicopy", "agent"), ("speaker.unit",))
    victims = [pid for node in NODES for words in kinds for pid in lab.pids(node, *words)]
    for pid in victims:
        os.kill(pid, 9)
    for node, pids in before.items():
        labs.wait_until(
            lambda node=node, pids=pids: (now := lab.pids(node, "calicopy", "agent")) and now != pids,
            what=f"the agent of {node} runs again",
        )
    lab.wait_healthy(*NODES, within=60)


# Killed in the middle of a call


def workload_state(lab: labs.TestLab, node: str) -> tuple[set[str], set[str], set[str], set[str]]:
    """What there is of workloads besides `pod`: handles with an address, names listed, host routes, interfaces."""
    listed = {one["name"]: one for one in lab.cli(node, "workload", "list")["items"] if one["name"] != "pod"}
    held = {one["handle"]: one["address"] for one in lab.cli(node, "ipam", "show", "--addresses")["items"]}
    handles = {handle.removeprefix("workload:") for handle in held if handle.startswith("workload:")} - {"pod"}
    own = [one["addresses"][0] for one in lab.cli(node, "workload", "list")["items"] if one["name"] == "pod"]
    routes = {name.removesuffix("/32") for name in lab.kernel_routes(node) if name.endswith("/32")} - set(own)
    links = {link["ifname"] for link in json.loads(lab.run(node, "ip", "-j", "link", "show", "type", "veth"))}
    theirs = {one["host_interface"] for one in lab.cli(node, "workload", "list")["items"] if one["name"] == "pod"}
    return handles, set(listed), routes, {name for name in links if name.startswith("cali")} - theirs


def kill_at_commit(lab: labs.TestLab, call: threading.Thread, *, delay_s: float) -> None:
    """Run the call, and kill agent and supervisor of n3 `delay_s` after it began to write to the store."""
    log = faults.inside(lab, "n3", "/var/lib/calicopy/calicopy.db-wal")
    victims = lab.pids("n3", "calicopy", "agent") + lab.pids("n3", "calicopy", "node")
    before, deadline = log.stat(), time.monotonic() + 10
    call.start()
    while ((now := log.stat()).st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
        assert time.monotonic() < deadline, "nothing was written to the store"
    time.sleep(delay_s)  # the moment of the kill is what the test varies
    for pid in victims:
        os.kill(pid, 9)
    call.join(20)
    faults.start_supervisor(lab, "n3")
    lab.wait_healthy("n3", within=60)


def calling(lab: labs.TestLab, method: str, request: object) -> threading.Thread:
    """A call to the agent of n3 that may be cut short."""

    def call() -> None:
        with faults.api(lab, "n3", alone=True) as channel, suppress(grpc.RpcError):
            getattr(workload_pb2_grpc.WorkloadServiceStub(channel), method)(request, timeout=10)

    return threading.Thread(target=call)


def test_an_agent_killed_between_the_commit_and_the_write_to_the_kernel_leaks_nothing(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    delays = [0.0, 0.002, 0.005, 0.009, 0.015, 0.03]  # an attach takes 5 to 20 ms
    names = [f"cut{number}" for number in range(len(delays))]
    for name, delay_s in zip(names, delays, strict=True):
        lab.run("n3", "ip", "netns", "add", name)
        request = workload_pb2.AttachRequest(netns=name, name=name)
        kill_at_commit(lab, calling(lab, "Attach", request), delay_s=delay_s)
        handles, listed, routes, links = labs.wait_until(
            lambda: (state := workload_state(lab, "n3")) and state[0] == state[1] and state,
            what="every address has its workload",
        )
        assert len(routes) <= len(links) <= len(listed), (handles, listed, routes, links)

    for name in names:
        lab.run("n3", "calicopy", "workload", "attach", name, name)
    handles, listed, routes, links = workload_state(lab, "n3")
    assert handles == listed == set(names)
    assert len(routes) == len(links) == len(names)
    addresses = [one["addresses"][0] for one in lab.cli("n3", "workload", "list")["items"]]
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        lab.run("n1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", address)

    for name, delay_s in zip(names, [0.0, 0.004], strict=False):
        request = workload_pb2.DetachRequest(name=name)
        kill_at_commit(lab, calling(lab, "Detach", request), delay_s=delay_s)
    for name in names:
        lab.run("n3", "calicopy", "workload", "detach", name)
    labs.wait_until(
        lambda: workload_state(lab, "n3") == (set(), set(), set(), set()), what="nothing is left of the workloads"
    )


# Clients


def test_clients_that_misbehave_do_not_hold_up_the_agent(lab: labs.TestLab) -> None:
    with ExitStack() as stack:
        watchers = []
        for _ in range(100):
            channel = stack.enter_context(faults.api(lab, "n1", alone=True))
            watchers.append(watch_pb2_grpc.WatchServiceStub(channel).Watch(watch_pb2.WatchRequest()))
        for watcher in watchers[:20]:
            watcher.cancel()
        channel = stack.enter_context(faults.api(lab, "n1", alone=True))
        status = node_pb2_grpc.NodeServiceStub(channel).GetStatus
        ipam = ipam_pb2_grpc.IpamServiceStub(channel)
        for _ in range(20):
            with suppress(grpc.RpcError):  # a quick agent may still answer
                status(node_pb2.GetStatusRequest(), timeout=0)
        with pytest.raises(grpc.RpcError) as large:
            ipam.AssignAddress(ipam_pb2.AssignAddressRequest(handle="x" * 8_000_000))
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        took = []
        for number in range(30):  # each is told to the 80 watchers, who do not read
            ipam.AssignAddress(ipam_pb2.AssignAddressRequest(handle=f"storm{number % 3}"))
            began = time.monotonic()
            status(node_pb2.GetStatusRequest())
            took.append(time.monotonic() - began)
            ipam.ReleaseAddress(ipam_pb2.ReleaseAddressRequest(handle=f"storm{number % 3}"))
        assert max(took) < 1.0, took
    assert lab.established("n1") == {"n2", "n3"}


def test_a_user_outside_the_group_is_told_so_and_one_inside_may_do_everything(lab: labs.TestLab) -> None:
    outside = ("setpriv", "--reuid", "65534", "--regid", "1234", "--clear-groups", "--inh-caps=-all")
    for words in (("status",), ("ipam", "assign", "mine")):
        refused = lab.try_run("n1", *outside, "calicopy", *words)
        assert refused.returncode == 3
        assert refused.stderr.startswith("calicopy: permission denied:"), refused.stderr
        assert "nogroup" in refused.stderr, refused.stderr
    member = ("setpriv", "--reuid", "1234", "--regid", "nogroup", "--clear-groups", "--inh-caps=-all")
    lab.run("n1", *member, "calicopy", "ipam", "assign", "mine")
    lab.run("n1", *member, "calicopy", "ipam", "release", "mine")


def test_a_user_who_may_only_read_reads_and_is_refused_a_change(lab: labs.TestLab) -> None:
    lab.run("n1", "chmod", "600", "/run/calicopy/calicopy.sock")
    try:
        member = ("setpriv", "--reuid", "1234", "--regid", "nogroup", "--clear-groups", "--inh-caps=-all")
        assert "n1" in lab.run("n1", *member, "calicopy", "status")
        refused = lab.try_run("n1", *member, "calicopy", "ipam", "assign", "mine")
        assert refused.returncode == 3
        assert refused.stderr.startswith("calicopy: permission denied:"), refused.stderr
    finally:
        lab.run("n1", "chmod", "660", "/run/calicopy/calicopy.sock")


# A node without power


def held(lab: labs.TestLab, node: str) -> list[str]:
    """The next hops that the BFD process has made blackholes."""
    return [line for line in lab.run(node, "ip", "nexthop", "show").splitlines() if "blackhole proto 118" in line]


def test_a_node_without_power_is_gone_within_the_detection_time_and_comes_back_with_its_block(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    block = lab.block_of("n3")
    lab.run("n3", "calicopy", "ipam", "assign", "there", "--pool", "small")
    reserved = labs.wait_until(
        lambda: faults.of_node(lab, "n1", owner="n3", within="10.245."),
        what="n1 knows the small block of n3",
    )
    before, downs = lab.kernel_routes("n1"), faults.bfd(lab, "n2")["192.0.2.3"].downs

    lab.kill("n1", "calicopy", "agent", number=signal.SIGSTOP)
    lab.run("sw", "ip", "link", "set", "eth3", "nomaster")  # in silence: every carrier stays
    faults.kill_all(lab, "n3")  # nothing of it gets out
    labs.wait_until(lambda: block not in lab.kernel_routes("n2"), within=3, what="n2 removes the route to n3")
    labs.wait_until(lambda: held(lab, "n1"), within=3, what="the BFD process of n1 drops packets to n3 by itself")
    assert lab.kernel_routes("n1")[block]["type"] == "blackhole"
    lab.kill("n1", "calicopy", "agent", number=signal.SIGCONT)
    labs.wait_until(lambda: block not in lab.kernel_routes("n1"), within=10, what="n1 removes the route to n3")
    labs.wait_until(lambda: not held(lab, "n1"), what="n1 lets go of what BFD held")
    assert faults.bfd(lab, "n2")["192.0.2.3"].downs == downs + 1
    assert lab.block_of("n2") in lab.kernel_routes("n1")
    peer = faults.peers(lab, "n1")["n3"]
    assert peer["state"] != "Established"
    assert "BFD" in peer["last_error"], peer
    faults.wait_problem(lab, "n1", "peer n3: ", "bfd")

    # Its blocks are not free, not even when there is no other: of four, n1 has two at the end, n2 and n3 one each.
    taken = 0
    while lab.try_run("n1", "calicopy", "ipam", "assign", f"many{taken}", "--pool", "small").returncode == 0:
        taken += 1
        assert taken < 16
    assert taken == 8
    assert {(block, "n3", "reserved"), (reserved[0], "n3", "reserved")} <= faults.blocks(lab, "n1")
    for number in range(taken):
        lab.run("n1", "calicopy", "ipam", "release", f"many{number}")

    lab.run("sw", "ip", "link", "set", "eth3", "master", "br0")
    faults.start_supervisor(lab, "n3")
    lab.wait_healthy(*NODES, within=60)
    assert lab.block_of("n3") == block
    back = lab.kernel_routes("n1")
    assert {prefix: back.get(prefix) for prefix in before} == before
    lab.run("n1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", pods["n3"])


def test_a_node_whose_address_is_taken_away_says_so_and_is_back_with_it(
    lab: labs.TestLab, pods: dict[str, str]
) -> None:
    wanted = lab.kernel_routes("n3")
    lab.run("n3", "ip", "address", "del", "192.0.2.3/24", "dev", "eth1")
    faults.wait_problem(lab, "n3", "192.0.2.3 is on no interface")
    labs.wait_until(lambda: "n3" not in lab.established("n1"), within=30, what="n1 has lost n3")
    lab.run("n3", "ip", "address", "add", "192.0.2.3/24", "dev", "eth1")
    lab.wait_healthy(*NODES, within=60)
    assert lab.kernel_routes("n3") == wanted
    lab.run("n1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", pods["n3"])


# Another file


def test_what_left_the_file_goes_with_the_next_start_of_the_agent(lab: labs.TestLab, pods: dict[str, str]) -> None:
    file = lab.topology.parent / "cluster.yaml"
    block, own = lab.block_of("n3"), lab.block_of("n1")
    small = lab.cli("n1", "ipam", "assign", "stays", "--pool", "small")["block"]
    try:
        file.write_text(cluster(nodes=("n1", "n2"), pools=("pods",)))
        faults.restart_agent(lab, "n1")
        lab.wait_healthy("n1", within=60)
        assert set(faults.peers(lab, "n1")) == {"n2"}
        labs.wait_until(lambda: block not in lab.kernel_routes("n1"), what="the route to n3 goes")
        assert not faults.of_node(lab, "n1", owner="n3", within="")
        labs.wait_until(lambda: "n1" not in lab.established("n3"), what="n3 has lost n1")
        assert "n2" in lab.established("n3")
        lab.run("n1", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", pods["n2"])
        # The pool is gone, an address of it is in use: nothing new, but what is used is kept.
        assert lab.block_of("n1") == own
        assert lab.try_run("n1", "calicopy", "ipam", "assign", "new", "--pool", "small").returncode != 0
        assert small in faults.of_node(lab, "n1", owner="n1", within="")
        lab.run("n1", "calicopy", "ipam", "release", "stays")
        labs.wait_until(
            lambda: small not in faults.of_node(lab, "n1", owner="n1", within=""),
            what="the block goes with its last address",
        )
        labs.wait_until(lambda: small not in lab.kernel_routes("n1"), what="its blackhole goes too")
    finally:
        file.write_text(cluster())
    faults.restart_agent(lab, "n1")
    lab.wait_healthy(*NODES, within=60)
    assert lab.kernel_routes("n1")[block]["gateway"] == "192.0.2.3"
    assert lab.block_of("n3") == block
