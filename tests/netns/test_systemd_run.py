"""The units under a real systemd: in a PID namespace, with nothing but them."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import labs
import pytest
import yaml

from calicopy.bfd.packet import State
from calicopy.bfd.process.state import read_states
from calicopy.systemd import install, units

SYSTEMD = Path("/lib/systemd/systemd")
ROOT = Path(__file__).parents[2]
BOOT = ROOT / "tests/support/systemdboot.sh"
HIDDEN = tuple(Path(place) for place in ("/tmp", "/home", "/root"))  # from the units: no place for calicopy on a host
SERVICES = ("agent", "speaker", "bfd", "udp")
STUBS = ("sysinit.target", "basic.target", "shutdown.target", "network.target")
CLUSTER = {
    "nodes": [{"name": "n1", "address": "192.0.2.1/24"}, {"name": "n2", "address": "192.0.2.2/24"}],
    "pools": [{"cidr": "10.244.0.0/16"}],
}

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not SYSTEMD.exists() or shutil.which("systemctl") is None, reason="no systemd"),
]


class Host:
    """systemd, as PID 1 of its own namespaces."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *words: str, check: bool = True) -> str:
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--cgroup", *words]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=check).stdout.strip()

    def calicopy(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "calicopy", *words)

    def shown(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", "--value", "--property", key, f"calicopy-{unit}", check=False)

    def wait_active(self, *names: str) -> None:
        for name in names:
            labs.wait_until(lambda name=name: self.shown(name, "ActiveState") == "active", what=f"{name} is active")


def descendant(pid: int) -> int:
    """The process that `unshare` started, once it has become systemd; 0 before."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next((int(child) for child in children if Path(f"/proc/{child}/comm").read_text() == "systemd\n"), 0)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("systemd")
    (folder / "etc/calicopy").mkdir(parents=True)
    (folder / "etc/calicopy/cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    (folder / "etc/calicopy/agent.env").write_text("CALICOPY_AGENT=--node n1\n")
    install(folder / "units", units())
    for name in STUBS:
        (folder / "units" / name).write_text(f"[Unit]\nDescription={name}\n")
    if any(ROOT.is_relative_to(place) for place in HIDDEN):  # a checkout may well be there
        for name in SERVICES:
            drop_in = folder / "units" / f"calicopy-{name}.service.d"
            drop_in.mkdir()
            (drop_in / "checkout.conf").write_text("[Service]\nPrivateTmp=no\nProtectHome=no\n")
    command = ["unshare", "--fork", "--pid", "--mount", "--cgroup", "--uts", "--net", "--ipc", "--mount-proc"]
    command += [str(BOOT), str(folder), "calicopy.target", str(ROOT)]
    with subprocess.Popen(command, start_new_session=True) as process:
        pid = 0
        try:
            pid = int(str(labs.wait_until(lambda: descendant(process.pid), what="systemd runs")))
            made = Host(pid)
            made.wait_active(*SERVICES)
            yield made
        finally:
            os.kill(pid or process.pid, signal.SIGKILL)  # PID 1 of its namespace: all in there ends with it


def bfd_state(host: Host) -> int:
    """What the BFD process has said to the other node last."""
    [line] = read_states(f"/proc/{host.pid}/root/run/calicopy/bfd.state").values()
    return line.state


def main_pid(host: Host, name: str) -> int:
    return int(host.shown(name, "MainPID"))


def test_a_pod_is_attached_by_the_hardened_agent_and_sysctls_are_set(host: Host) -> None:
    host.run("ip", "netns", "add", "web")  # after the units have got mount namespaces of their own
    assert "attached" in host.calicopy("workload", "attach", "web", "web")
    assert host.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1"
    status = json.loads(host.calicopy("-o", "json", "status"))
    assert status["speaker"]["attached"]
    assert [problem["component"] for problem in status["problems"]] == ["peer"], status["problems"]
    assert host.shown("agent", "StatusText") == "node n1, active: 0 of 1 peers established"


def test_a_killed_agent_is_started_again_and_the_others_have_gone_on(host: Host) -> None:
    before = {name: main_pid(host, name) for name in SERVICES}
    host.run("kill", "-9", host.shown("agent", "MainPID"))
    labs.wait_until(lambda: main_pid(host, "agent") not in (0, before["agent"]), what="another agent")
    host.wait_active("agent")
    assert {name: main_pid(host, name) for name in SERVICES[1:]} == {name: before[name] for name in SERVICES[1:]}


def test_bfd_runs_in_real_time(host: Host) -> None:
    assert "SCHED_FIFO" in host.run("chrt", "--pid", host.shown("bfd", "MainPID"))


def test_a_reload_ends_and_the_agent_is_the_same(host: Host) -> None:
    before = main_pid(host, "agent")
    host.run("systemctl", "reload", "calicopy-agent")
    host.wait_active("agent")
    assert main_pid(host, "agent") == before


def test_the_target_stops_all_and_leaves_the_run_directory(host: Host) -> None:
    host.run("systemctl", "stop", "calicopy.target")
    for name in SERVICES:
        labs.wait_until(lambda name=name: host.shown(name, "ActiveState") == "inactive", what=f"{name} is inactive")
        assert host.shown(name, "Result") == "success", name
    assert {"exabgp.conf", "udp.status"} <= set(host.run("ls", "/run/calicopy").split())
    assert bfd_state(host) == State.ADMIN_DOWN


def test_when_the_host_goes_down_bfd_does_not_say_that_the_end_is_meant(host: Host) -> None:
    host.run("systemctl", "start", "calicopy-bfd")
    labs.wait_until(lambda: bfd_state(host) == State.DOWN, what="the session is there again")
    host.run("systemctl", "start", "shutdown.target")  # as poweroff, reboot and kexec do
    labs.wait_until(lambda: host.shown("bfd", "ActiveState") == "inactive", what="bfd is inactive")
    assert host.shown("bfd", "Result") == "success"
    assert bfd_state(host) == State.DOWN
