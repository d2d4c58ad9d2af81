"""Changing a node while it runs: plan, apply, what does not come up, confirm, rollback, SIGHUP, a restart meanwhile."""
from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import labs
import pytest

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

NODES = ("n1", "n2")
OWN = "/etc/calicopy/cluster.yaml"
THEIRS = "10.244.255.0/26"
TOR = "{name: tor, address: 192.0.2.9, as: 65009}"
NOBODY = "{name: nobody, address: 192.0.2.99, as: 65099}"

BIRD = f"""
router id 192.0.2.9;
protocol device {{ }}
protocol static theirs {{ ipv4; route {THEIRS} blackhole; }}
protocol bgp n1 {{
  local 192.0.2.9 as 65009;
  neighbor 192.0.2.1 as 64512;
  ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
  hold time 9;
  connect delay time 1;
}}
"""


def cluster(*peers: str, more: str = "") -> str:
    """A cluster file with these peers of n1."""
    entries = "".join(f"    - {peer[:-1]}, nodes: [n1]}}\n" for peer in peers)
    return (
        "nodes:\n  - {name: n1, address: 192.0.2.1/24}\n  - {name: n2, address: 192.0.2.2/24}\n"
        f"pools:\n  - {{cidr: 10.244.0.0/16}}\nbgp:\n  mesh: true\n{more}"
        + (f"  peers:\n{entries}" if entries else "")
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.TestLab]:
    """Two nodes, each with a directory of its own for its file, and a router that announces a block to n1."""
    directory = tmp_path_factory.mktemp("lab")
    plan = {name: labs.node_with_files(directory, name, f"192.0.2.{name[1]}/24", cluster()) for name in NODES}
    bird = "bird -f -c /etc/bird.conf -s /run/bird.ctl"
    plan["tor"] = labs.router("192.0.2.9/24", bird, binds=["bird.conf:/etc/bird.conf:ro"])
    topology = labs.one_ethernet(f"ap{os.getpid()}", plan)
    with labs.running(directory, topology, files={"bird.conf": BIRD}, mgmt=False) as made:
        made.wait_established("n1", "n2", within=60)
        made.wait_healthy(*NODES)
        yield made


@pytest.fixture(autouse=True)
def as_before(lab: labs.TestLab) -> Iterator[None]:
    """Each test begins with the file without peers."""
    yield
    lab.try_run("n1", "calicopy", "config", "rollback") if under_way(lab) else None
    done = apply(lab, cluster())
    assert done.returncode == 0, done.stdout + done.stderr


def own_file(lab: labs.TestLab, node: str = "n1") -> Path:
    return lab.topology.parent / node / "cluster.yaml"


def under_way(lab: labs.TestLab) -> Any:
    return lab.cli("n1", "config", "show")["change"]


def said_of_the_file(lab: labs.TestLab) -> list[tuple[str, str]]:
    """What `status` says of the configuration."""
    found = [each for each in lab.status("n1")["problems"] if each["component"] == "config"]
    return [(each["object"], each["reason"]["code"]) for each in found]


def running(lab: labs.TestLab) -> str:
    return str(lab.cli("n1", "config", "show", "--running")["text"])


def new_file(lab: labs.TestLab, text: str) -> str:
    (lab.topology.parent / "n1" / "new.yaml").write_text(text)
    return "/etc/calicopy/new.yaml"


def apply(lab: labs.TestLab, text: str, *options: str) -> Any:
    return lab.try_run("n1", "calicopy", "apply", "-f", new_file(lab, text), *options)


def begin(lab: labs.TestLab, text: str, tmp_path: Path, *options: str) -> Path:
    """An apply in the background, once its change is under way; where it writes."""
    output = tmp_path / "apply"
    lab.spawn("n1", "calicopy", "apply", "-f", new_file(lab, text), *options, output=output)
    labs.wait_until(lambda: under_way(lab), what="the change is under way")
    return output


def session(lab: labs.TestLab, peer: str) -> tuple[Any, ...]:
    """What shows that a session was not touched."""
    found = faults.peers(lab, "n1")[peer]
    return found["state"], found["state_since"], found["sessions_established"], found["sessions_lost"]


def test_apply_adds_a_peer_and_leaves_the_other_session_alone(lab: labs.TestLab) -> None:
    before = session(lab, "n2")
    assert before[0] == "Established"
    new = cluster(TOR)
    planned = lab.cli("n1", "plan", "-f", new_file(lab, new))
    assert [(one["name"], one["effect"]) for one in planned["sessions"]] == [("tor", "added")]
    assert running(lab) == cluster()

    done = apply(lab, new)
    assert done.returncode == 0, done.stdout + done.stderr
    assert own_file(lab).read_text() == running(lab) == new
    assert "tor" in lab.established("n1")
    labs.wait_until(lambda: THEIRS in lab.kernel_routes("n1"), what="the new peer's route")
    assert session(lab, "n2") == before
    assert lab.cli("n1", "plan", "-f", "/etc/calicopy/new.yaml")["sessions"] == []

    planned = lab.cli("n1", "plan", "-f", new_file(lab, cluster()))
    assert [(one["name"], one["effect"]) for one in planned["sessions"]] == [("tor", "removed")]
    assert [(one["prefix"], one["effect"]) for one in planned["routes"]] == [(THEIRS, "removed")]
    assert apply(lab, cluster()).returncode == 0
    labs.wait_until(lambda: THEIRS not in lab.kernel_routes("n1"), what="its route is gone")
    # BIRD keeps the routes of a peer with graceful restart: ours were withdrawn before the session ended
    shown = lab.run("tor", "birdc", "-s", "/run/bird.ctl", "show", "route", "all", "protocol", "n1")
    assert "192.0.2.1" not in shown, shown
    assert session(lab, "n2") == before


def test_a_bad_file_is_refused_with_its_place(lab: labs.TestLab) -> None:
    done = apply(lab, cluster(TOR).replace("65009", "nonsense"))
    assert done.returncode == 4
    assert "/etc/calicopy/new.yaml:9:" in done.stderr
    done = lab.try_run("n1", "calicopy", "plan", "-f", new_file(lab, "nodes: []\n"))
    assert done.returncode == 4
    assert running(lab) == own_file(lab).read_text() == cluster()


def test_what_cannot_be_changed_at_run_time_is_refused_and_planned(lab: labs.TestLab) -> None:
    new = cluster() + "agent: {route_metric: 77}\n"
    done = apply(lab, new)
    assert done.returncode == 4
    assert "route_metric" in done.stderr
    assert lab.cli("n1", "plan", "-f", new_file(lab, new))["restarts"] == ["agent.route_metric: 1024 becomes 77"]


def test_a_file_that_does_not_come_up_is_called_back_within_its_time(lab: labs.TestLab) -> None:
    before, began = session(lab, "n2"), time.monotonic()
    done = apply(lab, cluster(NOBODY), "--confirm", "3s")
    assert done.returncode == 1
    assert time.monotonic() - began < 15
    assert "nobody" in done.stderr
    assert "restored" in done.stderr
    assert running(lab) == own_file(lab).read_text() == cluster()
    assert set(faults.peers(lab, "n1")) == {"n2"}
    assert session(lab, "n2") == before


def test_what_does_not_come_up_may_be_confirmed_and_rolled_back(lab: labs.TestLab, tmp_path: Path) -> None:
    output = begin(lab, cluster(NOBODY), tmp_path)
    done = apply(lab, cluster(TOR))
    assert done.returncode == 4
    assert "under way" in done.stderr
    assert "apply of /etc/calicopy/new.yaml" in done.stderr
    lab.run("n1", "calicopy", "config", "confirm")
    labs.wait_until(lambda: "done" in output.read_text(), what="the apply ends well")
    assert own_file(lab).read_text() == cluster(NOBODY)

    lab.run("n1", "calicopy", "config", "rollback")
    assert own_file(lab).read_text() == running(lab) == cluster()


def test_a_rollback_ends_a_change_that_is_under_way(lab: labs.TestLab, tmp_path: Path) -> None:
    output = begin(lab, cluster(NOBODY), tmp_path)
    assert said_of_the_file(lab) == [("apply of /etc/calicopy/new.yaml", "change-under-way")]
    lab.run("n1", "calicopy", "config", "rollback")
    labs.wait_until(lambda: "restored" in output.read_text(), what="the apply ends with what ran before")
    assert running(lab) == cluster()
    assert said_of_the_file(lab) == []


def test_an_agent_that_is_killed_during_a_change_comes_back_on_what_ran_before(
    lab: labs.TestLab, tmp_path: Path
) -> None:
    begin(lab, cluster(NOBODY), tmp_path)
    assert "nobody" in faults.peers(lab, "n1")
    faults.restart_agent(lab, "n1")
    lab.wait_established("n1", "n2")
    assert set(faults.peers(lab, "n1")) == {"n2"}
    assert running(lab) == own_file(lab).read_text() == cluster()


def test_so_does_one_that_was_changed_by_sighup(lab: labs.TestLab) -> None:
    own_file(lab).write_text(cluster(NOBODY))
    lab.kill("n1", "calicopy", "agent", number=signal.SIGHUP)
    labs.wait_until(lambda: under_way(lab), what="the change is under way")
    faults.restart_agent(lab, "n1")
    lab.wait_established("n1", "n2")
    shown = lab.cli("n1", "config", "show", "--running")
    assert shown["text"] == cluster()
    assert not shown["same"]
    assert said_of_the_file(lab) == [("/etc/calicopy/cluster.yaml", "startup-differs")]
    faults.restart_agent(lab, "n1")
    assert running(lab) == cluster()


def test_a_hundred_sighups_with_an_invalid_and_then_a_valid_file(lab: labs.TestLab) -> None:
    before = session(lab, "n2")
    (agent,) = lab.pids("n1", "calicopy", "agent")
    own_file(lab).write_text("nodes: nonsense\n")
    for _ in range(50):
        os.kill(agent, signal.SIGHUP)
    labs.wait_until(lambda: "refused, nothing has changed" in lab.logs(), what="the invalid file is refused")
    assert running(lab) == cluster()
    own_file(lab).write_text(cluster(TOR))
    for _ in range(50):
        os.kill(agent, signal.SIGHUP)
    labs.wait_until(lambda: running(lab) == cluster(TOR), what="the valid file runs")
    labs.wait_until(lambda: not under_way(lab), what="it holds", within=30)
    assert running(lab) == cluster(TOR)
    assert lab.pids("n1", "calicopy", "agent") == [agent]
    assert session(lab, "n2") == before


def test_a_file_that_cannot_be_written_is_said(lab: labs.TestLab) -> None:
    own_file(lab).chmod(0o444)
    try:
        done = apply(lab, cluster(TOR))
        assert done.returncode == 1
        assert "read-only" in done.stderr
        assert running(lab) == cluster(TOR)
        assert not lab.cli("n1", "config", "show", "--startup")["same"]
        assert own_file(lab).read_text() == cluster()
    finally:
        own_file(lab).chmod(0o644)


def test_the_file_keeps_its_mode_and_owner(lab: labs.TestLab) -> None:
    own_file(lab).chmod(0o604)
    os.chown(own_file(lab), 12, 34)
    try:
        assert apply(lab, cluster(TOR)).returncode == 0
        found = own_file(lab).stat()
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o604, 12, 34)
    finally:
        own_file(lab).chmod(0o644)
        os.chown(own_file(lab), 0, 0)


def test_a_full_disk_keeps_the_file_that_was_there(lab: labs.TestLab) -> None:
    path = new_file(lab, cluster(TOR))
    lab.run("n1", "sh", "-c", f"cp {path} /tmp/new.yaml && mount -t tmpfs -o size=8k tmpfs /etc/calicopy")
    try:
        lab.run("n1", "sh", "-c", f"printf %s '{cluster()}' >{OWN}")
        lab.try_run("n1", "sh", "-c", "cat /dev/zero >/etc/calicopy/filler")
        done = lab.try_run("n1", "calicopy", "apply", "-f", "/tmp/new.yaml")
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert lab.run("n1", "cat", OWN) == cluster()
        assert sorted(lab.run("n1", "ls", "-A", "/etc/calicopy").split()) == ["cluster.yaml", "filler"]
        assert running(lab) == cluster(TOR)
        assert not lab.cli("n1", "config", "show")["same"]
    finally:
        lab.run("n1", "umount", "/etc/calicopy")
