"""Nodes whose files or keys differ, beside a peer that never answers."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime

import faults
import labs
import pytest

from calicopy import lab as runner

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

NODES = ("n1", "n2", "n3")
BLOCK = "10.244.7.0/26"
PINNED = {"n1": "10.244.1.0/26", "n2": "10.244.2.0/26", "n3": "10.244.3.0/26"}
KEYS = "/etc/calicopy/keys"


def session(holder: str, peer: str) -> str:
    """The session with `peer` at `holder`, which has a key of its own. The second of a pair dials."""
    return (
        f"    - {{name: to-{peer}-at-{holder}, address: 192.0.2.{peer[1]}, as: 64512, nodes: [{holder}], "
        f"passive: {'true' if holder < peer else 'false'}, password_file: {KEYS}/{''.join(sorted((holder, peer)))}}}\n"
    )


def cluster(*, pins: dict[str, str] | None = None) -> str:
    """A cluster file. `pins` are node -> pinned block."""
    nodes = "".join(
        f"  - {{name: {name}, address: 192.0.2.{name[1]}/24, blocks: [{(pins or {}).get(name, '')}]}}\n"
        for name in NODES
    )
    sessions = "".join(session(holder, peer) for holder in NODES for peer in NODES if holder != peer)
    nobody = "    - {name: nobody, address: 192.0.2.99, as: 64512}\n"
    return (
        f"nodes:\n{nodes}pools:\n  - {{name: pods, cidr: 10.244.0.0/16}}\n"
        f"bgp:\n  mesh: false\n  hold_time_s: 6\n  graceful_restart_time_s: 5\n  peers:\n{sessions}{nobody}"
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """Three nodes, each with a file and keys of its own; nobody is at 192.0.2.99."""
    directory = tmp_path_factory.mktemp("lab")
    plan = {}
    for name in NODES:
        keys = directory / f"keys-{name}"
        keys.mkdir()
        for other in NODES:
            if other != name:
                (keys / "".join(sorted((name, other)))).write_text(f"key of {min(name, other)} and {max(name, other)}")
        plan[name] = labs.node(f"192.0.2.{name[1]}/24")
        plan[name]["binds"] = [f"{name}.yaml:/etc/calicopy/cluster.yaml:ro", f"keys-{name}:{KEYS}:ro"]
    files = {f"{name}.yaml": cluster() for name in NODES}
    with labs.running(directory, labs.one_ethernet(f"ff{os.getpid()}", plan), files=files, mgmt=False) as made:
        for name in NODES:
            made.wait_established(name, *(peer_name(name, other) for other in NODES if other != name), within=60)
        yield made


def peer_name(holder: str, peer: str) -> str:
    """What `session` calls it."""
    return f"to-{peer}-at-{holder}"


def log(lab: labs.TestLab, node: str) -> str:
    """Everything that the processes of a node have written."""
    return runner.logs(node, lab=lab.topology).read_text(errors="replace")


def when(text: str, pattern: str) -> datetime:
    """The time of the first line of a log with `pattern`."""
    found = re.search(rf"^(\S+ \S+) \w+ .*{pattern}", text, re.MULTILINE)
    assert found, text
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f")


def test_a_peer_that_never_answers_delays_the_first_claim_by_two_seconds_at_most(lab: labs.TestLab) -> None:
    for node in NODES:
        text = labs.wait_until(lambda node=node: "is ours" in (text := log(lab, node)) and text, what="a claim")
        assert (when(text, "is ours") - when(text, "agent is up")).total_seconds() < 3.0  # 2 s, on a busy machine
        peer = faults.peers(lab, node)["nobody"]
        assert peer["state"] in ("Idle", "Connect", "Active")
        faults.wait_problem(lab, node, "192.0.2.99")
        routes = labs.wait_until(
            lambda node=node: len(held := lab.kernel_routes(node)) == 3 and held, what="the routes of the others"
        )
        assert lab.block_of(node) in routes


def test_a_wrong_key_is_named_and_costs_that_session_alone(lab: labs.TestLab) -> None:
    key = lab.topology.parent / "keys-n3" / "n1n3"
    good = key.read_text()
    others = {
        node: faults.peers(lab, node)[peer_name(node, peer)]["state_since"]
        for node, peer in (("n1", "n2"), ("n2", "n1"), ("n2", "n3"))
    }
    try:
        key.write_text("not the key")
        faults.restart_agent(lab, "n3")
        for node, peer in (("n1", "n3"), ("n3", "n1")):
            name = peer_name(node, peer)
            labs.wait_until(lambda node=node, name=name: name not in lab.established(node), what="the session ends")
        for node, peer in (("n1", "n3"), ("n3", "n1")):
            faults.wait_problem(lab, node, f"peer {peer_name(node, peer)}: ", "MD5")
        assert {
            node: faults.peers(lab, node)[peer_name(node, peer)]["state_since"]
            for node, peer in (("n1", "n2"), ("n2", "n1"), ("n2", "n3"))
        } == others
    finally:
        key.write_text(good)
    faults.restart_agent(lab, "n3")
    lab.wait_established("n3", peer_name("n3", "n1"), within=60)
    lab.wait_established("n1", peer_name("n1", "n3"), within=60)


def test_a_key_file_that_is_missing_is_named_and_costs_that_session_alone(lab: labs.TestLab) -> None:
    key = lab.topology.parent / "keys-n3" / "n1n3"
    good = key.read_text()
    try:
        key.unlink()
        faults.kill_all(lab, "n3", words=("calicopy.speaker.unit",))  # nothing of the sessions is left
        (faults.inside(lab, "n3", "/run/calicopy") / "exabgp.conf").unlink()
        faults.restart_agent(lab, "n3")
        faults.wait_problem(lab, "n3", f"{KEYS}/n1n3")
        lab.wait_established("n3", peer_name("n3", "n2"), within=60)
        assert peer_name("n3", "n1") not in lab.established("n3")
        assert f"{KEYS}/n1n3" in log(lab, "n3")
    finally:
        key.write_text(good)
    lab.wait_established("n3", peer_name("n3", "n1"), within=60)  # nobody restarted it
    faults.wait_problem(lab, "n3", KEYS, there=False)


def test_a_block_that_two_files_pin_to_two_nodes_is_reported_and_goes_by_the_rule(lab: labs.TestLab) -> None:
    directory = lab.topology.parent
    pod3 = lab.pod("n3", "pod")
    lab.pod("n1", "pod")

    # n2 owns the block and uses it, as its file says.
    (directory / "n2.yaml").write_text(cluster(pins={"n2": BLOCK}))
    faults.restart_agent(lab, "n2")
    labs.wait_until(lambda: (BLOCK, "n2", "confirmed") in faults.blocks(lab, "n2"), what="n2 has its pinned block")
    lab.run("n2", "ip", "netns", "add", "pod")
    attach = ("calicopy", "workload", "attach", "pod", "pod", "--address", BLOCK.replace("0/26", "9"))
    lab.run("n2", *attach)
    used = BLOCK.replace("0/26", "9")
    labs.wait_until(lambda: BLOCK in lab.kernel_routes("n1"), what="n1 has a route to it")

    # The file of n1 says that it is n1's.
    (directory / "n1.yaml").write_text(cluster(pins={"n1": BLOCK}))
    faults.restart_agent(lab, "n1")
    for node in ("n1", "n2"):
        faults.wait_problem(lab, node, BLOCK)
        assert re.search(rf"WARNING.*{re.escape(BLOCK)}", log(lab, node)), log(lab, node)[-3000:]

    # Once the file of n2 no longer says so, n1 wins, and what n2 uses is reached by itself.
    (directory / "n2.yaml").write_text(cluster())
    faults.restart_agent(lab, "n2")
    labs.wait_until(lambda: (BLOCK, "n2", "lost") in faults.blocks(lab, "n2"), what="n2 has lost the block")
    faults.wait_problem(lab, "n2", BLOCK)
    for node in ("n1", "n3"):
        labs.wait_until(
            lambda node=node: lab.kernel_routes(node).get(f"{used}/32", {}).get("gateway") == "192.0.2.2",
            what=f"{node} reaches the address at n2",
        )
    labs.wait_until(
        lambda: lab.kernel_routes("n3").get(BLOCK, {}).get("gateway") == "192.0.2.1", what="n3 has the block at n1"
    )
    for node in ("n1", "n3"):
        ping = ("ping", "-c", "1", "-W", "2", used)
        labs.wait_until(
            lambda node=node, ping=ping: lab.try_run(node, "ip", "netns", "exec", "pod", *ping).returncode == 0,
            what=f"the pod of {node} reaches the pod of n2",
        )
    lab.run("n2", "ip", "netns", "exec", "pod", "ping", "-c", "1", "-W", "2", pod3)

    # With the last address the block is over at n2, and the conflict with it.
    lab.run("n2", "calicopy", "workload", "detach", "pod")
    labs.wait_until(lambda: (BLOCK, "n2", "lost") not in faults.blocks(lab, "n2"), what="n2 has given it up")
    assert (BLOCK, "n1", "reserved") in faults.blocks(lab, "n2")
    for node in ("n1", "n2"):
        faults.wait_problem(lab, node, BLOCK, there=False)
    labs.wait_until(lambda: f"{used}/32" not in lab.kernel_routes("n3"), what="the route of the address goes")
