"""Labs in namespaces: `up`, `down`, `exec_`, `status`, `logs`.

Theory of operation: carries out a Plan in containerlab's order: namespaces and eth0, then per node its sysctls and its
`cmd` (by `init.py`), then the links, then the nodes' `exec`. The record of the lab is written first; a failure or an
interrupt takes down what was made, and what a `kill -9` of `up` leaves behind is taken down by `down`.
"""
from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import calicopy
from calicopy.lab import init, network
from calicopy.lab.plan import NodePlan, Plan, PlanError, make_plan
from calicopy.lab.state import STATE_ROOT, LabDirectory, LabError, NodeRecord, Record, directories
from calicopy.lab.topology import Topology, parse


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command of a node's `exec` did; `output` is stdout and stderr together."""

    node: str
    argv: tuple[str, ...]
    code: int
    output: str


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up. `results` has one entry per `exec` command."""

    name: str
    file: str
    nodes: tuple[NodeRecord, ...]
    results: tuple[ExecResult, ...] = ()

    @property
    def failures(self) -> tuple[ExecResult, ...]:
        """The `exec` commands that did not end with 0."""
        return tuple(result for result in self.results if result.code != 0)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as `list` shows it: `state` is running, exited or absent; `pid` as the host sees it."""

    lab: str
    name: str
    container: str
    state: str
    pid: int | None
    exit_code: int | None
    addresses: dict[str, tuple[str, ...]]


def load(path: str | Path) -> Topology:
    """Read and check a topology file. Raises TopologyError, or LabError if it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{file}: {error.strerror if isinstance(error, OSError) else 'not UTF-8 text'}") from None
    return parse(text, file=str(file.absolute()))


def up(path: str | Path, *, mgmt: bool = True, reconfigure: bool = False) -> Lab:
    """Bring up the lab of a topology file.

    `mgmt` False leaves out eth0 and its default route; `reconfigure` takes down a lab of this name first.
    Raises TopologyError, or LabError; nothing of the lab is left then.
    """
    topology = load(path)
    try:
        plan = make_plan(topology, bin_dirs=(str(Path(sys.executable).parent),), mgmt=mgmt)
    except PlanError as error:
        raise LabError(str(error)) from None
    _check_root()
    directory = LabDirectory(STATE_ROOT / plan.lab)
    if reconfigure and directory.path.exists():
        down(plan.lab)
    _check_host(plan)
    STATE_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        directory.path.mkdir(mode=0o755)
    except FileExistsError:
        raise LabError(f"lab {plan.lab} is up already, or half made; `calicopy lab down {plan.lab}` removes it, "
                       "`up --reconfigure` does both") from None
    with directory.locked() as lock:
        try:
            return _make(plan, directory, lock=lock)
        except BaseException:
            _remove(directory)
            raise


def down(lab: str | Path) -> None:
    """Take down a lab, given by name or topology file, also a half-made one.

    Raises LabError if there is no such lab, or if something could not be removed (the rest is, and it can be repeated).
    """
    _check_root()
    directory = find(lab)
    with directory.locked():
        _remove(directory)


def find(lab: str | Path) -> LabDirectory:
    """The directory of a running lab by name or topology file. Raises LabError."""
    text = str(lab)
    name = load(lab).name if text.endswith((".yml", ".yaml")) or "/" in text else text
    for directory in directories():
        if directory.lab == name:
            return directory
    raise LabError(f"no lab {name} is up; `calicopy lab list` shows those that are")


def find_node(node: str, *, lab: str | Path | None = None) -> tuple[LabDirectory, NodeRecord]:
    """A node by its name or its container's name; without `lab`, in whatever lab has it.

    Raises LabError if there is none, or several.
    """
    candidates = [find(lab)] if lab is not None else list(directories())
    found = [(directory, one) for directory in candidates if (record := directory.read()) is not None
             for one in record.nodes if node in (one.name, one.container)]
    if len(found) == 1:
        return found[0]
    if found:
        labs = ", ".join(directory.lab for directory, _ in found)
        raise LabError(f"node {node} is in several labs ({labs}): say which, or use the container's name")
    names = [one.name for directory in candidates if (record := directory.read()) is not None for one in record.nodes]
    raise LabError(f"no node {node} in {f'lab {candidates[0].lab}' if lab is not None else 'any lab'}"
                   f"; there is: {', '.join(names) or 'none'}")


def exec_(
    node: str, argv: Sequence[str], *, lab: str | Path | None = None, env: dict[str, str] | None = None,
    input: str | None = None, capture: bool = True, timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in all the namespaces of a node; its `returncode` is the command's (128 + N for signal N).

    `capture` False leaves stdin, stdout and stderr those of the caller; else stdin is `input`, or empty.
    Raises LabError if the node does not run, subprocess.TimeoutExpired.
    """
    directory, record = find_node(node, lab=lab)
    done = subprocess.run(
        _inside(directory, record, argv), env={**record.env, **(env or {})}, text=True, timeout=timeout_s, check=False,
        capture_output=capture, input="" if capture and input is None else input)
    done.returncode = _shell_code(done.returncode)
    return done


def status(lab: str | Path | None = None) -> tuple[NodeStatus, ...]:
    """The nodes of a lab, or of all labs."""
    chosen = directories() if lab is None else (find(lab),)
    found: list[NodeStatus] = []
    for directory in chosen:
        record = directory.read()
        for node in record.nodes if record else ():
            process = directory.process(node.name)
            running = process is not None and process.alive()
            addresses: dict[str, tuple[str, ...]] = {}
            with suppress(LabError):
                addresses = network.addresses(node.netns)
            found.append(NodeStatus(
                directory.lab, node.name, node.container, "running" if running else "exited" if process else "absent",
                process.pid if running and process else None, None if running else directory.exit_code(node.name),
                addresses))
    return tuple(found)


def logs(node: str, *, lab: str | Path | None = None) -> Path:
    """The file with everything that a node's `cmd` wrote."""
    directory, record = find_node(node, lab=lab)
    return directory.log(record.name)


def _check_root() -> None:
    if os.geteuid() != 0:
        raise LabError("a lab needs root: it makes network namespaces")


def _check_host(plan: Plan) -> None:
    """Refuse what would get in the way of something that is not ours."""
    directory = STATE_ROOT / plan.lab
    taken = network.existing_namespaces(plan.namespaces) if not directory.exists() else ()
    if taken:
        raise LabError(f"lab {plan.lab}: there are network namespaces of that name already ({', '.join(taken)}), made "
                       "by something else, perhaps containerlab")
    for bridge in plan.bridges:
        if bridge.netns is None and not network.is_bridge(bridge.name):
            raise LabError(f"{plan.file}: topology.nodes.{bridge.name}: the host has no bridge {bridge.name}; make it "
                           f"first: ip link add {bridge.name} type bridge && ip link set {bridge.name} up")
    for name in plan.host_interfaces:
        if network.link_exists(name) and not directory.exists():
            raise LabError(f"{plan.file}: the host has an interface {name} already")
    for node in plan.nodes:
        for bind in node.binds:
            if not Path(bind.source).exists():
                raise LabError(f"{plan.file}: topology.nodes.{node.name}: bind {bind.source}:{bind.target}: there is "
                               f"no {bind.source}")


def _make(plan: Plan, directory: LabDirectory, *, lock: int) -> Lab:
    nodes = tuple(NodeRecord(node.name, node.container, node.netns, dict(node.env)) for node in plan.nodes)
    directory.write(Record(plan.lab, plan.file, nodes, plan.namespaces, plan.host_interfaces))
    indexes = itertools.count(network.FIRST_INDEX)
    network.add_namespaces(plan.namespaces)
    if plan.mgmt is not None:
        network.make_mgmt(plan.mgmt, plan.nodes, indexes=indexes)
    began = time.monotonic()
    for node in sorted(plan.nodes, key=lambda one: one.startup_delay_s):
        time.sleep(max(0.0, began + node.startup_delay_s - time.monotonic()))
        _start(node, directory, lock=lock)
    network.make_bridges(plan.bridges)
    network.make_links(plan.links, indexes=indexes)
    results = tuple(_run_exec(directory, record, words)
                    for node, record in zip(plan.nodes, nodes, strict=True) for words in node.exec)
    return Lab(plan.lab, plan.file, nodes, results)


def _run_exec(directory: LabDirectory, record: NodeRecord, words: tuple[str, ...]) -> ExecResult:
    # Into a file, not a pipe: a command may leave a daemon behind that holds on to it.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(_inside(directory, record, words), env=dict(record.env), stdin=subprocess.DEVNULL,
                              stdout=output, stderr=subprocess.STDOUT, check=False)
        output.seek(0)
        return ExecResult(record.name, words, _shell_code(done.returncode), output.read())


def _tools() -> list[str]:
    """Where this Python and this package are, if not in the host's own tree: a node must see them as they are now."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(calicopy.__file__).parent.parent}
    real = sorted({place.resolve() for place in places} | {place for place in places if not place.is_symlink()})
    outer = [place for place in real if not any(other != place and place.is_relative_to(other) for other in real)]
    return [str(place) for place in outer if not place.is_relative_to("/usr")]


def _start(node: NodePlan, directory: LabDirectory, *, lock: int) -> None:
    """Start a node's process, and wait until its `cmd` has been executed. Raises LabError with what failed."""
    work = directory.work(node.name)
    work.mkdir(mode=0o700)
    spec: init.Spec = {
        "netns": str(network.NETNS_DIR / node.netns), "hostname": node.hostname, "argv": list(node.argv),
        "env": dict(node.env), "sysctls": dict(node.sysctls), "privileged": node.privileged, "hosts": node.hosts,
        "binds": [{"source": str(Path(bind.source).resolve()), "target": bind.target, "read_only": bind.read_only}
                  for bind in node.binds],
        "tools": _tools(), "log": str(directory.log(node.name)), "record": str(directory.pid(node.name)),
        "ended": str(directory.ended(node.name)), "work": str(work),
    }
    read, write = os.pipe()
    message = ""
    with os.fdopen(read) as told:
        try:
            starter = subprocess.run(
                (sys.executable, "-I", "-S", init.__file__, str(write), str(lock)), input=json.dumps(spec), text=True,
                pass_fds=(write, lock), capture_output=True, check=False)
        finally:
            os.close(write)
            message = told.read()  # also on an interrupt: once it ends, the node is recorded or gone
    if starter.returncode != 0 or message:
        raise LabError(f"node {node.name}: {message or starter.stderr.strip()}")


def _inside(directory: LabDirectory, record: NodeRecord, argv: Sequence[str]) -> tuple[str, ...]:
    """The command that runs `argv` in all namespaces of the node, and dies with whoever waits for it."""
    process = directory.process(record.name)
    if process is None or not process.alive():
        code = directory.exit_code(record.name)
        ended = "" if code is None else f", its cmd ended with {code}"
        raise LabError(f"node {record.name} of lab {directory.lab} does not run{ended}; "
                       f"the end of {directory.log(record.name)}:{_last_lines(directory.log(record.name))}")
    nsenter = shutil.which("nsenter") or "nsenter"  # in the node's environment PATH is the node's
    return (nsenter, "-t", str(process.pid), "-m", "-u", "-i", "-n", "-p", "--",
            "setpriv", "--pdeathsig", "KILL", "--", *argv)


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-10:]
    except FileNotFoundError:
        lines = []
    return "".join(f"\n  {line}" for line in lines) or " nothing was written"


def _shell_code(code: int) -> int:
    """A process's end as the shell tells it: 128 + N for signal N."""
    return 128 - code if code < 0 else code


def _remove(directory: LabDirectory) -> None:
    """Everything of the lab; the first failure does not stop the rest, but keeps the record for another try."""
    failures: list[str] = []
    record = directory.read()
    if record is not None:
        for node in record.nodes:
            process = directory.process(node.name)
            if process is not None:
                try:
                    process.kill()
                except LabError as error:
                    failures.append(str(error))
        for remove, names in ((network.remove_host_interfaces, record.host_interfaces),
                              (network.remove_namespaces, record.namespaces)):
            try:
                remove(names)
            except LabError as error:
                failures.append(str(error))
    if failures:
        raise LabError(f"lab {directory.lab}: {'; '.join(failures)}")
    for left in reversed(range(2 * len(record.nodes) + 1 if record is not None else 1)):
        try:
            shutil.rmtree(directory.path)
            break
        except OSError as error:  # the monitor of a node that was killed wrote, or renamed, its exit code meanwhile
            if not left or error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
    with suppress(OSError):
        STATE_ROOT.rmdir()
