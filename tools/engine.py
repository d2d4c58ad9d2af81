"""A Docker engine: the one that runs already, else Debian's, started by hand for as long as it is needed.

The engine started here keeps apart from any other: data below build/, sockets and the rest below a directory in /run of
its own, all mounts in a mount namespace of its own that ends with it, no bridge, and not a line of the firewall or of
sysctl is changed (`--iptables=false --bridge=none --ip-forward=false`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
DIRECTORIES_OF_DOCKERD = ("/run/docker/plugins", "/run/docker", "/run/containerd/s", "/run/containerd")


class EngineError(Exception):
    """There is no engine, or it refused; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How to talk to an engine: every call is the `docker` command."""

    host: str | None
    """Its address as in DOCKER_HOST; None for the one that docker finds by itself."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the `docker` command."""
        # The engine of Debian has no BuildKit, and newer clients would look for it.
        mine = {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"} if self.host else {}
        return {**os.environ, **mine}

    def docker(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run `docker ARGUMENTS` and give its output; EngineError with what it said when it fails."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise EngineError(f"docker {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def has_image(self, name: str) -> bool:
        """Whether the engine holds the image."""
        return bool(self.docker("image", "ls", "--quiet", name))


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """The running engine, or one of our own that ends with the block; EngineError when neither can be had."""
    found = Engine(host=None)
    try:
        found.docker("version", timeout_s=20)
    except (EngineError, subprocess.TimeoutExpired):
        with _started() as own:
            yield own
    except FileNotFoundError as error:
        raise EngineError("no docker command; install the package docker.io") from error
    else:
        yield found


@contextlib.contextmanager
def _started() -> Iterator[Engine]:
    daemon = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if daemon is None:
        raise EngineError("no Docker engine runs here, and there is no dockerd to start; install the package docker.io")
    if os.geteuid() != 0:
        raise EngineError("no Docker engine runs here, and only root can start one")
    # Whatever --exec-root says, dockerd and containerd make these, and leave them.
    litter = [path for path in map(Path, DIRECTORIES_OF_DOCKERD) if not path.exists()]
    (BUILD / "logs").mkdir(parents=True, exist_ok=True)
    log = BUILD / "logs" / "dockerd.log"
    # Below /run, because paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="calicopy-docker-", dir="/run") as run, log.open("w") as output:
        own = Engine(host=f"unix://{run}/docker.sock")
        process = subprocess.Popen(
            [
                "unshare", "--mount", daemon, "--host", f"unix://{run}/docker.sock", "--pidfile", f"{run}/pid",
                "--data-root", str(BUILD / "docker"), "--exec-root", f"{run}/exec",
                "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none",
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_up(own, process, log=log)
            yield own
        finally:
            _stop(process)
            for path in litter:
                with contextlib.suppress(OSError):  # not made, or used by somebody else by now
                    path.rmdir()


def _wait_until_up(own: Engine, process: subprocess.Popen[bytes], *, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            own.docker("version", timeout_s=20)
        except EngineError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd did not come up ({error}); see {log}") from error
            time.sleep(0.1)
        else:
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End dockerd, which ends its containerd; what does not go by itself is killed, by session."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
