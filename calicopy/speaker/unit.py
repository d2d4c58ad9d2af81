"""`calicopy speaker`: waits for the rendered configuration, then becomes ExaBGP.

Theory of operation: whoever starts processes (the supervisor, systemd, an init) may start this one first and at once.
It ends only when ExaBGP ends. While it waits it has ExaBGP's modules loaded, so that the sessions are dialled some 50
ms after the file appears. It also waits until each address that ExaBGP is to listen on can be bound, because ExaBGP
refuses to start otherwise; the file is read again whenever it changes.
"""
from __future__ import annotations

import argparse
import errno
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from calicopy.notify import notify
from calicopy.speaker import launcher

DEFAULT_CONFIG = "/run/calicopy/exabgp.conf"
STEP_S = 0.02
SLOW_STEP_S = 0.2
QUICK_S = 30.0  # so long after the start the file is looked for every STEP_S
LISTENER = re.compile(r"local-address (\S+);.*?(?:listen (\d+);|\n})", re.DOTALL)


def wait_for_config(path: Path) -> str:
    """The text of the file, once it is there and its listening addresses are the host's."""
    started = time.monotonic()
    said = ""
    while True:
        missing = "it is not there yet"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if error.errno != errno.ENOENT:
                missing = error.strerror or str(error)
        else:
            problem = next(filter(None, map(unbindable, listen_addresses(text))), None)
            if problem is None:
                return text
            missing = problem
        if missing != said:
            sys.stderr.write(f"calicopy speaker: waiting for {path}: {missing}\n")
            sys.stderr.flush()
            said = missing
        time.sleep(STEP_S if time.monotonic() - started < QUICK_S else SLOW_STEP_S)


def listen_addresses(text: str) -> list[str]:
    """The addresses in the configuration that ExaBGP will bind."""
    return sorted({address for address, port in LISTENER.findall(text) if port})


def unbindable(address: str) -> str | None:
    """Why `address` cannot be bound, or None."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return f"cannot listen on {address}: {error.strerror}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns ExaBGP's exit code."""
    parser = argparse.ArgumentParser(prog="calicopy speaker", description="Run ExaBGP for the agent.")
    parser.add_argument("--config", default=DEFAULT_CONFIG, help="the file that the agent renders (%(default)s)")
    options = parser.parse_args(argv)
    launcher.prepare_environment()
    launcher.preload()
    notify("READY=1", f"STATUS=waiting for {options.config}")
    wait_for_config(Path(options.config))
    notify("STATUS=ExaBGP runs")
    return launcher.run(options.config)


if __name__ == "__main__":
    sys.exit(main())
