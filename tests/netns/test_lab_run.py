"""Labs that really run: what a node is, and that nothing is left behind whatever happened."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from calicopy import lab as labs
from calicopy.lab import LabError, TopologyError
from calicopy.lab.init import start_time

pytestmark = pytest.mark.netns
NAME = f"t{os.getpid()}"
COMMAND = (sys.executable, "-c", "from calicopy.cli.lab import lab; lab()")

TEXT = """
name: NAME
topology:
  defaults:
    kind: linux
    privileged: false
    sysctls: {net.ipv4.ip_forward: 1, net.ipv4.nexthop_compat_mode: 0}
  nodes:
    n1:
      cmd: sh -c 'echo started >&2; ip -br link show eth1; exec sleep infinity'
      binds: ["ro.txt:/etc/deep/inside/ro.txt:ro", "rw:/data"]
      env: {WORD: "two words", HOME: /data}
      exec: [ip address add 192.0.2.1/24 dev eth1, sh -c 'echo done >/run/mark']
    n2:
      exec: [ip address add 192.0.2.2/24 dev eth1]
    n3:
      privileged: true
      exec: [ip address add 192.0.2.3/24 dev eth1]
    sw:
    br0|sw: {kind: bridge, network-mode: "container:sw"}
  links:
    - endpoints: ["n1:eth1", "br0|sw:n1"]
    - endpoints: ["n2:eth1", "br0|sw:n2"]
    - endpoints: ["n3:eth1", "br0|sw:n3"]
"""


def namespaces() -> list[str]:
    listed = subprocess.run(("ip", "netns", "list"), capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines() if NAME in line]


def processes() -> dict[int, str]:
    """Live processes that belong to the lab: its nodes and monitors hold on to its directory or namespaces."""
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mounts = (path / "mountinfo").read_text()
            if f"/run/calicopy-lab/{NAME}/" in mounts:
                found[int(path.name)] = (path / "cmdline").read_text()
    return found


def mounts() -> str:
    return "\n".join(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if NAME in line)


def wait_for(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.02)


def assert_nothing_is_left() -> None:
    assert namespaces() == []
    assert mounts() == ""
    assert not Path("/run/calicopy-lab", NAME).exists()
    wait_for(lambda: processes() == {})


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The topology file, and what it binds; the lab is taken down at the end, whatever is left of it."""
    (tmp_path / "ro.txt").write_text("from the host\n")
    (tmp_path / "rw").mkdir()
    path = tmp_path / "lab.clab.yml"
    path.write_text(TEXT.replace("NAME", NAME))
    yield path
    with suppress(LabError):
        labs.down(NAME)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One lab for all tests that only look at it."""
    directory = tmp_path_factory.mktemp("lab")
    (directory / "ro.txt").write_text("from the host\n")
    (directory / "rw").mkdir()
    path = directory / "lab.clab.yml"
    path.write_text(TEXT.replace("NAME", NAME))
    made = labs.up(path)
    assert made.failures == ()
    yield path
    labs.down(NAME)
    assert_nothing_is_left()


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`calicopy lab WORDS` beside the test."""
    with subprocess.Popen((*COMMAND, *words), stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def run(node: str, *words: str) -> str:
    done = labs.exec_(node, words, lab=NAME, timeout_s=20)
    assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def test_nodes_reach_each_other_at_once_over_their_links(running: Path) -> None:
    assert ", 0% packet loss" in run("n1", "ping", "-c", "2", "-i", "0.1", "-W", "1", "192.0.2.2")
    assert ", 0% packet loss" in run("n2", "ping", "-c", "1", "-W", "1", "192.0.2.3")
    assert "mtu 9500" in run("n1", "ip", "link", "show", "eth1")


def test_the_exit_code_of_exec_is_the_commands(running: Path) -> None:
    assert labs.exec_("n1", ["sh", "-c", "exit 7"], lab=NAME).returncode == 7
    assert labs.exec_("n1", ["sh", "-c", "kill -9 $$"], lab=NAME).returncode == 137
    assert labs.exec_("n1", ["no-such-command"], lab=NAME).returncode == 127
    assert labs.exec_("n1", ["cat"], lab=NAME, input="through").stdout == "through"
    done = subprocess.run((*COMMAND, "exec", str(running), "n1", "--", "sh", "-c", "hostname; exit 3"),
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "n1\n")


def test_exec_that_takes_too_long_leaves_no_process_in_the_node(running: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        labs.exec_("n2", ["sleep", "4242"], lab=NAME, timeout_s=0.3)
    wait_for(lambda: "sleep 4242" not in run("n2", "ps", "ax"))


def test_a_node_has_its_own_name_processes_and_directories(running: Path) -> None:
    assert [run(node, "hostname") for node in ("n1", "n2")] == ["n1", "n2"]
    assert run("n1", "cat", "/etc/hostname") == "n1"
    assert run("n2", "ps", "-o", "args=", "-p", "1") == "sleep infinity"
    for directory in ("/run/calicopy", "/var/lib/calicopy", "/tmp", "/etc"):
        run("n1", "sh", "-c", f"mkdir -p {directory} && echo n1 > {directory}/{NAME}")
        assert labs.exec_("n2", ["test", "-e", f"{directory}/{NAME}"], lab=NAME).returncode == 1
        assert not Path(directory, NAME).exists()
    assert run("n2", "ls", "/run") == "lock\nnetns"


def test_a_node_sees_this_python_as_it_is(running: Path) -> None:
    assert run("n1", "python", "-c", "import calicopy, sys; print(sys.prefix, calicopy.__file__)").split() == [
        sys.prefix, labs.__file__.replace("/lab/", "/")]


def test_binds_are_mounted_and_read_only_where_the_file_says_so(running: Path) -> None:
    assert run("n1", "cat", "/etc/deep/inside/ro.txt") == "from the host"
    refused = labs.exec_("n1", ["sh", "-c", "echo x > /etc/deep/inside/ro.txt"], lab=NAME)
    assert "Read-only file system" in refused.stderr
    run("n1", "sh", "-c", "echo written > /data/out")
    assert (running.parent / "rw" / "out").read_text() == "written\n"
    assert not Path("/etc/deep").exists()


def test_the_environment_is_the_nodes_and_not_the_callers(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "leaked")
    environment = run("n1", "env").splitlines()
    assert "WORD=two words" in environment
    assert "HOME=/data" in environment
    assert not [line for line in environment if line.startswith("LEAK")]


def test_sysctls_are_set_before_cmd_and_read_only_unless_the_node_is_privileged(running: Path) -> None:
    assert run("n1", "sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.nexthop_compat_mode").split() == ["1", "0"]
    refused = labs.exec_("n1", ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"], lab=NAME)
    assert "Read-only file system" in refused.stderr
    run("n3", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/forwarding")
    assert run("n2", "sysctl", "-n", "net.ipv4.ip_forward") == "1"


def test_cmd_starts_before_the_links_are_there_and_exec_runs_after_it(running: Path) -> None:
    log = labs.logs("n1", lab=NAME).read_text()
    assert "started" in log
    assert "eth1" in log
    assert "does not exist" in log
    assert run("n1", "cat", "/run/mark") == "done"


def test_the_default_route_is_on_eth0_of_the_management_network(running: Path) -> None:
    assert run("n1", "ip", "-j", "route", "show", "default") != "[]"
    (route,) = json.loads(run("n1", "ip", "-j", "route", "show", "default"))
    assert (route["dev"], route["gateway"]) == ("eth0", "172.20.20.1")
    assert ", 0% packet loss" in run("n1", "ping", "-c", "1", "-W", "1", "n2")
    assert ", 0% packet loss" in run("n1", "ping", "-c", "1", "-W", "1", "3fff:172:20:20::1")
    assert "172.20.20" not in subprocess.run(("ip", "address"), capture_output=True, text=True, check=True).stdout


def test_a_node_can_make_network_namespaces_for_pods_of_its_own(running: Path) -> None:
    run("n1", "ip", "netns", "add", "pod1")
    run("n1", "ip", "netns", "exec", "pod1", "ip", "link", "set", "lo", "up")
    assert ", 0% packet loss" in run("n1", "ip", "netns", "exec", "pod1", "ping", "-c", "1", "127.0.0.1")
    assert run("n1", "ip", "netns", "list") == "pod1"
    assert run("n2", "ip", "netns", "list") == ""
    assert not Path("/run/netns/pod1").exists()
    run("n1", "nsenter", "--net=/run/netns/pod1", "ip", "link")


def test_list_shows_nodes_with_pid_and_addresses(running: Path) -> None:
    shown = subprocess.run((*COMMAND, "list", NAME, "-o", "json"), capture_output=True, text=True, check=True).stdout
    nodes = {node["name"]: node for node in json.loads(shown)["items"]}
    assert list(nodes) == ["n1", "n2", "n3", "sw"]
    assert nodes["n1"]["container"] == f"clab-{NAME}-n1"
    assert nodes["n1"]["state"] == "running"
    assert nodes["n1"]["addresses"]["eth1"] == ["192.0.2.1/24"]
    assert Path(f"/proc/{nodes['n1']['pid']}").exists()
    assert f"clab-{NAME}-n1" in namespaces()


def test_a_second_up_is_refused_and_says_what_to_do(running: Path) -> None:
    with pytest.raises(LabError, match=rf"lab {NAME} is up already.*calicopy lab down {NAME}"):
        labs.up(running)
    assert run("n1", "hostname") == "n1"


def test_an_unknown_node_or_lab_is_named(running: Path) -> None:
    with pytest.raises(LabError, match=r"no node n9 in lab .*; there is: n1, n2, n3, sw"):
        labs.exec_("n9", ["true"], lab=NAME)
    with pytest.raises(LabError, match="no lab nowhere is up"):
        labs.exec_("n1", ["true"], lab="nowhere")


# From here on every test makes its own lab.


@pytest.fixture
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, file: Path) -> Path:
    """The file under a lab name of its own, as the module's lab is up."""
    monkeypatch.setattr(sys.modules[__name__], "NAME", f"u{os.getpid()}")
    file.write_text(file.read_text().replace(f"name: t{os.getpid()}", f"name: u{os.getpid()}"))
    return file


def test_down_leaves_nothing_behind_and_another_up_works(alone: Path) -> None:
    labs.up(alone)
    run("n1", "ip", "netns", "add", "pod1")
    labs.down(alone)
    assert_nothing_is_left()
    labs.up(alone, mgmt=False)
    assert run("n1", "ip", "-j", "route", "show", "default") == "[]"
    labs.up(alone, reconfigure=True)
    assert run("n1", "ping", "-c", "1", "-W", "1", "192.0.2.2")
    labs.down(NAME)
    assert_nothing_is_left()
    with pytest.raises(LabError, match="no lab"):
        labs.down(alone)


def test_killing_the_node_ends_all_its_processes_and_down_still_works(alone: Path) -> None:
    labs.up(alone)
    run("n1", "sh", "-c", "setsid sleep 4343 >/dev/null 2>&1 &")
    pids = {node.name: node.pid for node in labs.status(NAME)}
    inside = [pid for pid, words in processes().items() if "4343" in words]
    assert inside
    node = pids["n1"]
    assert node is not None
    os.kill(node, signal.SIGKILL)
    wait_for(lambda: labs.status(NAME)[0].state == "exited")
    wait_for(lambda: labs.status(NAME)[0].exit_code == -signal.SIGKILL)
    wait_for(lambda: not any(pid in processes() for pid in inside))
    with pytest.raises(LabError, match=r"node n1 of lab .* does not run, its cmd ended with -9; the end of /run/"):
        run("n1", "true")
    assert run("n2", "hostname") == "n2"
    labs.down(NAME)
    assert_nothing_is_left()


def test_down_works_when_the_monitors_were_killed(alone: Path) -> None:
    labs.up(alone)
    for record in Path("/run/calicopy-lab", NAME).glob("*.pid"):
        os.kill(json.loads(record.read_text())["monitor"], signal.SIGKILL)
    assert run("n1", "hostname") == "n1"
    labs.down(NAME)
    assert_nothing_is_left()


def test_a_lab_left_half_made_is_refused_by_up_and_removed_by_down(alone: Path) -> None:
    alone.write_text(alone.read_text().replace("    n3:\n", "    n3:\n      startup-delay: 60\n"))
    with started("up", str(alone)) as making:
        wait_for(lambda: any("sleep" in words for words in processes().values()))
        with pytest.raises(LabError, match=f"process {making.pid} is working on it"):
            labs.down(NAME)
        making.kill()
    with pytest.raises(LabError, match="half made"):
        labs.up(alone)
    labs.down(alone)
    assert_nothing_is_left()


@pytest.mark.parametrize("delay_ms", [0, 40, 80, 120, 180, 240])
def test_up_killed_at_any_moment_leaves_nothing_that_down_does_not_remove(alone: Path, delay_ms: int) -> None:
    with started("up", str(alone)) as making:
        wait_for(Path("/run/calicopy-lab", NAME).exists)
        time.sleep(delay_ms / 1000)  # not to wait for something: this is the moment at which it is killed
        making.kill()
    labs.down(NAME)
    assert_nothing_is_left()


def test_an_interrupted_up_takes_down_what_it_made(alone: Path) -> None:
    alone.write_text(alone.read_text().replace("    n3:\n", "    n3:\n      startup-delay: 60\n"))
    with started("up", str(alone)) as making:
        wait_for(lambda: any("sleep" in words for words in processes().values()))
        making.send_signal(signal.SIGINT)
        making.wait(20)
    assert making.returncode != 0
    assert_nothing_is_left()


@pytest.mark.parametrize(("old", "new", "expected"), [
    ("ro.txt:/", "gone.txt:/", r"topology.nodes.n1: bind .*/gone.txt:.*: there is no .*/gone.txt"),
    ("cmd: sh -c", "cmd: no-such-command -c", "node n1: cmd no-such-command: No such file or directory"),
    ("net.ipv4.ip_forward: 1", "net.ipv4.no_such: 1", "node n1: sysctl net.ipv4.no_such=1: No such file"),
    ('"n1:eth1", "br0|sw:n1"', '"n1:a%b\'", "br0|sw:br0"', "ip link add .*br0.*"),
])
def test_a_lab_that_cannot_be_made_says_why_and_leaves_nothing(alone: Path, old: str, new: str, expected: str) -> None:
    alone.write_text(alone.read_text().replace(old, new))
    with pytest.raises(LabError, match=expected):
        labs.up(alone)
    assert_nothing_is_left()


def test_a_failing_exec_is_reported_and_the_lab_stays_up(alone: Path) -> None:
    alone.write_text(alone.read_text().replace("exec: [ip address add 192.0.2.2/24 dev eth1]", "exec: [ls /nowhere]"))
    done = subprocess.run((*COMMAND, "up", str(alone)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "node n2: exec `ls /nowhere` ended with 2: " in done.stderr
    assert run("n1", "hostname") == "n1"


def test_an_exec_that_leaves_a_daemon_behind_does_not_hold_up(alone: Path) -> None:
    alone.write_text(alone.read_text().replace(
        "exec: [ip address add 192.0.2.2/24 dev eth1]", "exec: [sh -c 'sleep 4444 & echo left it']"))
    began = time.monotonic()
    made = labs.up(alone)
    assert time.monotonic() - began < 10.0
    assert [result.output for result in made.results if result.node == "n2"] == ["left it\n"]
    assert "sleep 4444" in run("n2", "ps", "ax")


def test_a_namespace_that_something_else_made_is_left_alone(alone: Path) -> None:
    subprocess.run(("ip", "netns", "add", f"clab-{NAME}-n2"), check=True)
    try:
        with pytest.raises(LabError, match=rf"names* already \(clab-{NAME}-n2\), made by something else"):
            labs.up(alone)
        assert namespaces() == [f"clab-{NAME}-n2"]
    finally:
        subprocess.run(("ip", "netns", "delete", f"clab-{NAME}-n2"), check=True)


def test_an_unknown_key_is_refused_with_its_line(alone: Path) -> None:
    alone.write_text(alone.read_text().replace("      privileged: true\n", "      priviledged: true\n"))
    with pytest.raises(TopologyError, match=rf"{alone}:17: topology.nodes.n3.priviledged: unknown key"):
        labs.up(alone)
    done = subprocess.run((*COMMAND, "up", str(alone)), capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert_nothing_is_left()


def test_nodes_may_share_a_network_and_stand_on_a_bridge_of_the_host(alone: Path) -> None:
    bridge, port = f"b{os.getpid()}", f"p{os.getpid()}"
    alone.write_text(f"""
name: {NAME}
topology:
  defaults: {{kind: linux}}
  nodes:
    n1: {{exec: [ip address add 192.0.2.1/24 dev eth1]}}
    side: {{network-mode: "container:n1"}}
    {bridge}: {{kind: bridge}}
  links:
    - endpoints: ["n1:eth1", "{bridge}:{port}"]
""")
    with pytest.raises(LabError, match=f"the host has no bridge {bridge}; make it first: ip link add"):
        labs.up(alone)
    subprocess.run(("ip", "link", "add", bridge, "type", "bridge"), check=True)
    try:
        labs.up(alone)
        assert "192.0.2.1" in run("side", "ip", "address")
        assert run("side", "hostname") == "side"
        assert Path(f"/sys/class/net/{bridge}/brif/{port}").exists()
        labs.down(NAME)
        assert not Path(f"/sys/class/net/{port}").exists()
        assert_nothing_is_left()
    finally:
        subprocess.run(("ip", "link", "delete", bridge), check=True)


def test_a_reused_pid_is_not_taken_for_the_node(alone: Path) -> None:
    labs.up(alone)
    record = Path("/run/calicopy-lab", NAME, "n1.pid")
    node = json.loads(record.read_text())
    with subprocess.Popen(("sleep", "60")) as other:
        record.write_text(json.dumps({**node, "pid": other.pid, "start": start_time(other.pid) - 1}))
        assert labs.status(NAME)[0].state == "exited"
        labs.down(NAME)
        assert other.poll() is None
        other.kill()
    os.kill(node["pid"], signal.SIGKILL)
