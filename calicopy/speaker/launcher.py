"""Runs ExaBGP with our UPDATE class: `python -m calicopy.speaker.launcher CONFIG`.

Theory of operation: ExaBGP hands every UPDATE to the helper as raw bytes, and then decodes it all the same, one
object per prefix. The class that its register holds for UPDATE decides how much is decoded, so ours checks the
message as ExaBGP would (framing, attributes, prefix lengths: the verdicts of RFC 7606 stay ExaBGP's) and leaves the
NLRI packed. Anything that it does not know for sure goes to ExaBGP's own class. Without this launcher (`exabgp
CONFIG`) the helper sees the same lines, only later.

What has no register (sessions, timers, the Adj-RIB-Out: peering.py, bulk.py) is done by subclasses, to which a name in
ExaBGP's modules is bound once, before it starts. docs/speaker.md has the list, and what each is for. The peers whose
first OPEN must not claim kept forwarding state (RFC 4724 section 3) are named by `# calicopy: cold ADDRESS` lines.
"""
from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
from pathlib import Path

SETTINGS = {
    "exabgp_daemon_user": "root",
    "exabgp_daemon_drop": "false",  # reloads must still read files and bind port 179
    "exabgp_api_cli": "false",
    "exabgp_api_terminate": "true",  # a broken helper pipe leaves every session unserved: end, and be started again
    "exabgp_log_level": "WARNING",
    "exabgp_log_destination": "stderr",
    "exabgp_reactor_speed": "5.0",  # docs/speaker.md has the measurements
}
ENVFILE = Path(__file__).with_name("exabgp.env")  # else ExaBGP complains that there is none
COLD_LINE = re.compile(r"^# calicopy: cold (\S+)$", re.MULTILINE)


def prepare_environment() -> None:
    """Set ExaBGP's settings, as far as the operator has not set them. Must run before exabgp is imported."""
    os.environ.setdefault("EXABGP_ENVFILE", str(ENVFILE))
    for name, value in SETTINGS.items():
        if name.replace("_", ".") not in os.environ:
            os.environ.setdefault(name, value)


def cold_peers(text: str) -> frozenset[str]:
    """Addresses of the peers whose first session must carry F = 0, from the configuration's text."""
    return frozenset(COLD_LINE.findall(text))


def install(cold: frozenset[str]) -> list[str]:
    """Put our classes into ExaBGP's registers, each for itself; gives what did not work, and what it costs."""
    try:
        from calicopy.speaker import bulk, opaque, peering
    except Exception as error:  # whatever ExaBGP changed, it must still run
        return [f"ExaBGP runs without our classes: UPDATEs are slower to read, peers redialled late: {error!r}"]
    pieces = (
        (opaque.register_update, "UPDATEs are slower to read"),
        (opaque.register_lines, "UPDATEs are slower to read"),
        (lambda: peering.register_forwarding_bit(cold), "the first OPEN after a boot says that routes were kept"),
        (peering.register_negotiation, "a peer without the multiprotocol capability is sent no routes"),
        (peering.register_redial_delay, "a peer that was down is redialled after up to a minute"),
        (peering.register_dial_limit, "a dial without an answer hangs for up to two minutes"),
        (peering.register_keepalive, "KEEPALIVEs go out at a third of the hold time, whatever is configured"),
        (peering.register_probes, "a peer that rebooted and does not dial is noticed at the next KEEPALIVE"),
        (peering.register_connections, "a peer that rebooted waits for the hold time, TTL security is all sessions'"),
        (peering.register_reactor, "each command takes 50 ms while a session is down"),
        (bulk.register_bulk_commands, "announcements take 0.3 ms for each prefix and peer"),
        (bulk.register_rib, "each IPv6 prefix is an UPDATE, and changes of a route in quick order may be lost"),
    )
    problems = []
    for register, cost in pieces:
        try:
            register()
        except Exception as error:  # as above
            problems.append(f"ExaBGP has changed, {cost}: {error!r}")
    return problems


def preload() -> None:
    """Load ExaBGP's modules ahead of time (0.3 s); what goes wrong is told by run()."""
    gc.disable()  # modules make no garbage to speak of, and looking for it takes a fifth of the time
    with contextlib.suppress(Exception):
        import exabgp.application.main  # noqa: F401 - for the modules that it loads

        from calicopy.speaker import bulk, opaque, peering  # noqa: F401 - as above
    gc.freeze()
    gc.enable()


def run(config: str) -> int:
    """Become ExaBGP with `config`; returns its exit code."""
    prepare_environment()
    text = ""
    with contextlib.suppress(OSError):  # ExaBGP itself says what is wrong with the file
        text = Path(config).read_text(encoding="utf-8", errors="replace")
    for problem in install(cold_peers(text)):
        sys.stderr.write(f"calicopy speaker: {problem}\n")
    from exabgp.application.main import main as exabgp_main

    sys.argv = ["exabgp", "server", config]
    try:
        code = exabgp_main()
    except SystemExit as ended:
        code = ended.code
    return code if isinstance(code, int) else 1


def main(argv: list[str] | None = None) -> int:
    """Entry point: one argument, the rendered configuration."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m calicopy.speaker.launcher CONFIG\n")
        return 2
    return run(arguments[0])


if __name__ == "__main__":
    sys.exit(main())
