"""200 BFD sessions between two hosts: the processor that each end takes, and false alarms when all is busy.

Both ends are calicopy, then both are BIRD, with the same sessions over the same switch. The share of a processor is
taken while nothing else that the benchmark started runs; then one process for each processor does nothing but count,
for BENCH_BFD_S seconds (15; 600 for the ten minutes of the target), and every session that leaves Up is a false alarm.
"""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.fabric import Fabric, wait_for
from bench.memory import cpu_seconds
from bench.report import Row, row, say
from calicopy.bfd.process.settings import SessionSetting, StateLine, format_sessions, parse_state

SESSIONS = int(os.environ.get("BENCH_BFD_SESSIONS", "200"))
BUSY_S = float(os.environ.get("BENCH_BFD_S", "15"))
QUIET_S = 10.0
TARGET_PERCENT = 10.0
HOSTS = ("n1", "n2")
UP = 3


def measure(directory: Path) -> list[Row]:
    """Percent of a processor, and sessions that went Down."""
    with Fabric(directory, *HOSTS) as fabric:
        for host in HOSTS:
            for number in range(SESSIONS):
                fabric.run(host, "ip", "address", "add", f"{_address(host, number)}/16", "dev", "eth1")
        ours, alarms = _calicopy(fabric)
        bird = _bird(fabric)
    what = f"{SESSIONS} BFD sessions of 100 ms x 3"
    return [
        row(f"{what}: processor taken at one end", "%", ours, bird=bird, target=TARGET_PERCENT),
        row(f"{what}: false alarms in {BUSY_S:g} s with all processors busy", "sessions", alarms, target=0.0),
    ]


def _calicopy(fabric: Fabric) -> tuple[list[float], float]:
    processes = []
    for host in HOSTS:
        run_dir = fabric.directory / f"bfd-{host}"
        run_dir.mkdir()
        wanted = [SessionSetting(_address(_other(host), n), _address(host, n)) for n in range(SESSIONS)]
        (run_dir / "bfd.sessions").write_text(format_sessions(wanted))
        command = (sys.executable, "-m", "calicopy.bfd.process.unit", "--run-dir", str(run_dir))
        processes.append(fabric.spawn(host, *command, log=f"bfd-{host}.log"))
    wait_for(lambda: all(_ups(fabric, host) == SESSIONS for host in HOSTS), what="all sessions Up")
    shares = _shares([process.pid for process in processes])
    say(f"calicopy: {shares[0]:.1f} % and {shares[1]:.1f} % of a processor")
    with _busy():
        time.sleep(BUSY_S)
    alarms = sum(state.downs for host in HOSTS for state in _states(fabric, host))
    for process in processes:
        fabric.stop(process)
    return shares, float(alarms)


def _bird(fabric: Fabric) -> list[float]:
    processes, controls = [], []
    for host in HOSTS:
        lines = "\n".join(
            f"  neighbor {_address(_other(host), n)} local {_address(host, n)} multihop yes;" for n in range(SESSIONS)
        )
        config = fabric.directory / f"bird-{host}.conf"
        timers = "multihop { interval 100 ms; idle tx interval 1 s; multiplier 3; };"
        config.write_text(f"router id {fabric.address(host)};\nprotocol bfd {{\n  {timers}\n{lines}\n}}\n")
        control = str(fabric.directory / f"bird-{host}.ctl")
        processes.append(fabric.spawn(host, "bird", "-f", "-c", str(config), "-s", control, log=f"bird-{host}.log"))
        controls.append(control)
    wait_for(lambda: all(_bird_ups(control) == SESSIONS for control in controls), what="all sessions Up at BIRD")
    shares = _shares([process.pid for process in processes])
    say(f"BIRD: {shares[0]:.1f} % and {shares[1]:.1f} % of a processor")
    for process in processes:
        fabric.stop(process)
    return shares


def _shares(pids: list[int]) -> list[float]:
    """Percent of one processor that each takes."""
    before, began = [cpu_seconds([pid]) for pid in pids], time.monotonic()
    time.sleep(QUIET_S)
    took = time.monotonic() - began
    return [100 * (cpu_seconds([pid]) - earlier) / took for pid, earlier in zip(pids, before, strict=True)]


@contextmanager
def _busy() -> Iterator[None]:
    """One process for each processor that never waits."""
    made = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in made:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _states(fabric: Fabric, host: str) -> list[StateLine]:
    found = []
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5.0)
        client.connect(str(fabric.directory / f"bfd-{host}" / "bfd.sock"))
        with client.makefile() as lines:
            for line in lines:
                if line == "end\n":
                    break
                if line.startswith("state "):
                    found.append(parse_state(line))
    return found


def _ups(fabric: Fabric, host: str) -> int:
    with suppress(OSError):
        return sum(state.state == UP for state in _states(fabric, host))
    return 0


def _bird_ups(control: str) -> int:
    command = ("birdc", "-s", control, "show", "bfd", "sessions")
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return sum(" Up " in line for line in shown.splitlines())


def _address(host: str, number: int) -> str:
    return f"198.18.{HOSTS.index(host) + 1}.{number + 1}"


def _other(host: str) -> str:
    return HOSTS[1 - HOSTS.index(host)]
