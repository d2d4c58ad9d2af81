#!/usr/bin/env python3
"""Run a command where the kernel has the `ipip` module: on this host, or inside User Mode Linux.

    tests/uml/run.py [--where auto|host|uml] [--timeout S] [--mem 1G] -- COMMAND [ARGUMENT...]

The command runs in the checkout, as root, in a network of its own (only `lo`), with an empty /run; its output is
streamed and its exit code becomes that of this program (124: out of time, 125: the guest did not come up).
Nothing it leaves behind survives it: processes, namespaces and devices go with the guest, or with the PID and network
namespaces that hold it on the host.

The guest is Debian's `user-mode-linux` on the host's own file system (see init.sh), about as fast as the host at
computing and several times slower at system calls. Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BUILD = PROJECT / "build" / "uml"
MODULES = ("ipip", "veth", "dummy", "bridge", "vxlan", "tun", "nf_tables", "nft_masq", "nft_ct", "nft_numgen")
OUT_OF_TIME = 124
NOT_STARTED = 125


def main() -> int:
    """Parse the command line, decide where to run, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", choices=("auto", "host", "uml"), default="auto")
    parser.add_argument("--timeout", type=float, default=150.0, metavar="S", help="seconds, boot included")
    parser.add_argument("--mem", default="1G", help="memory of the guest; more boots slower")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    where = options.where
    if where == "auto":
        where = "host" if host_has_ipip() else "uml"
    BUILD.mkdir(parents=True, exist_ok=True)
    # A signal must end the guest too: as an exception it passes through the `finally` below.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    print(f"run.py: on the {'host' if where == 'host' else 'User Mode Linux guest'}", flush=True)
    if where == "host":
        return run_on_host(options.command, timeout_s=options.timeout)
    return run_in_uml(options.command, timeout_s=options.timeout, memory=options.mem)


def host_has_ipip() -> bool:
    """Whether an IPIP device can be made in a namespace of this host (the kernel loads the module when it has it)."""
    probe = ["unshare", "--net", "ip", "link", "add", "probe", "type", "ipip", "local", "127.0.0.1"]
    return subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def run_on_host(command: list[str], *, timeout_s: float) -> int:
    """Run in new network, mount and PID namespaces; the kernel kills what is left in them when the command ends."""
    prepare = 'mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/lock && ip link set lo up && exec "$@"'
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return wait(
        subprocess.Popen([*unshare, "sh", "-c", prepare, "sh", *command], cwd=PROJECT, start_new_session=True),
        timeout_s=timeout_s,
    )


def run_in_uml(command: list[str], *, timeout_s: float, memory: str) -> int:
    """Boot a guest on the host's files, let its init run the command, and read the exit code that it leaves."""
    kernel = shutil.which("linux.uml")
    if kernel is None:
        print("run.py: no ipip in this kernel, and no linux.uml: apt-get install user-mode-linux", file=sys.stderr)
        return NOT_STARTED
    preload = build_preload()
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD) as share:
        init = Path(share, "init")
        init.write_text(init_script(command, share=share))
        init.chmod(0o755)
        arguments = [
            kernel, f"mem={memory}", "rootfstype=hostfs", "root=/dev/root", "ro", f"init={init}",
            "con=null", "con0=null,fd:1", "loglevel=1", "panic=-1", f"uml_dir={share}", "umid=guest",
        ]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "HOME": share, "LD_PRELOAD": str(preload)}
        guest = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        ended = wait(guest, timeout_s=timeout_s)
        if ended == OUT_OF_TIME:
            return OUT_OF_TIME
        try:
            return int(Path(share, "exit-code").read_text())
        except (FileNotFoundError, ValueError):
            print(f"run.py: the guest ended ({ended}) without an exit code", file=sys.stderr)
            return NOT_STARTED


def init_script(command: list[str], *, share: str) -> str:
    """The guest's first program: the environment, then init.sh (the kernel's command line could not hold spaces)."""
    values = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PROJECT": str(PROJECT),
        "SHARE": share,
        "MODULES": " ".join(MODULES),
        "COMMAND": shlex.join(command),
    }
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    return f"#!/bin/sh\n{exports}exec sh {shlex.quote(str(HERE / 'init.sh'))}\n"


def build_preload() -> Path:
    """Compile xstate.c, without which a guest dies at once on CPUs with AMX; again only when the source is newer."""
    source, library = HERE / "xstate.c", BUILD / "xstate.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        fresh = library.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", fresh, source, "-ldl"], check=True)
        fresh.rename(library)  # two runs at once never see half a file
    return library


def wait(process: subprocess.Popen[bytes], *, timeout_s: float) -> int:
    """Wait for the process; whatever ends the wait, nothing of its session is left running."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        print(f"run.py: out of time after {timeout_s:g} s", file=sys.stderr)
        return OUT_OF_TIME
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
