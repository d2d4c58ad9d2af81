"""Build the node image: `python -m tools.image`, which is `make image`.

The base comes from the engine, from a registry, or, where none can be reached, from debootstrap. Without an engine of
the user's own the image is also written to build/image/calicopy-node.tar, for `docker load`.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tools.engine import BUILD, PROJECT, Engine, EngineError, engine

IMAGE = "calicopy-node:latest"
BASE = "debian:bookworm-slim"
BASE_PYTHON = "3.11"
"""The Python of the base: the wheels must be for it, whatever Python makes them."""
SUITE = "bookworm"
CONTEXT = BUILD / "image" / "context"
PULL_TIMEOUT_S = 90.0


def main() -> int:
    """Build; exit code 1 and a line that says why when it cannot be."""
    try:
        with engine() as docker:
            build(docker)
            if docker.host:
                archive = BUILD / "image" / "calicopy-node.tar"
                docker.docker("save", "--output", str(archive), IMAGE, timeout_s=300)
                print(f"==> no engine runs here, so: docker load --input {archive.relative_to(PROJECT)}")
    except EngineError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def build(docker: Engine) -> None:
    """Build the image in the engine; EngineError when a step fails."""
    ensure_base(docker)
    collect_wheels()
    print(f"==> building {IMAGE}", flush=True)
    arguments = ["build", "--tag", IMAGE, "--build-arg", f"BASE={BASE}", "--file", str(PROJECT / "Dockerfile")]
    if docker.host:
        arguments += ["--network", "host"]  # our engine has no bridge
    log = docker.docker(*arguments, str(CONTEXT), timeout_s=600)
    (BUILD / "logs").mkdir(exist_ok=True)
    (BUILD / "logs" / "image.log").write_text(log)
    size = int(docker.docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"    {IMAGE}, {size / 1e6:.0f} MB", flush=True)


def ensure_base(docker: Engine) -> None:
    """Have the base image in the engine."""
    if docker.has_image(BASE):
        return
    print(f"==> pulling {BASE}", flush=True)
    try:
        docker.docker("pull", "--quiet", BASE, timeout_s=PULL_TIMEOUT_S)
    except (EngineError, subprocess.TimeoutExpired):
        print("==> no registry answers: making the base with debootstrap (a minute)", flush=True)
        docker.docker("import", str(base_archive()), BASE)


def base_archive() -> Path:
    """A tar archive of a minimal Debian, made once and kept in build/."""
    archive = BUILD / "image" / f"base-{SUITE}.tar"
    if archive.exists():
        return archive
    root = BUILD / "image" / "base"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    part = archive.with_suffix(".part")
    try:
        run("debootstrap", "--variant=minbase", SUITE, str(root))
        # As in the official image: packages start no services while an image is built.
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        for part_of_it in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
            shutil.rmtree(root / part_of_it)
        run("tar", "--directory", str(root), "--create", "--file", str(part), ".")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return part.rename(archive)


def collect_wheels() -> None:
    """Put calicopy's wheel, and the wheels of all it needs for the Python of the base, into the build context."""
    print("==> collecting wheels", flush=True)
    shutil.rmtree(CONTEXT, ignore_errors=True)
    wheels = CONTEXT / "wheels"
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(PROJECT))
    (ours,) = wheels.glob("calicopy-*.whl")
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 17)] + [f"manylinux2014_{machine}"]
    target = ["--implementation", "cp", "--python-version", BASE_PYTHON, "--only-binary=:all:"]
    target += [word for name in platforms for word in ("--platform", name)]
    run(*pip, "download", "--find-links", str(wheels), "--dest", str(wheels), *target, str(ours))


def run(*command: str) -> None:
    """Run a step quietly; EngineError with the end of its output when it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise EngineError(f"{command[0]} is not installed (make install-deps)") from error
    if done.returncode != 0:
        raise EngineError(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
