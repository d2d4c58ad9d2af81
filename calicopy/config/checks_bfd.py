"""What must hold between the BFD settings of the cluster file and the rest of a session. Pure; the rules of `checks`
hold here too."""

from __future__ import annotations

from collections.abc import Iterator

from calicopy.config.errors import Path
from calicopy.config.problems import Problem
from calicopy.config.sections_bfd import interval_text
from calicopy.config.sections_bgp import BgpSection, PeerEntry
from calicopy.seam.bfd import HopMode


def check_bfd(bgp: BgpSection) -> Iterator[Problem]:
    """Problems of `bgp.bfd`."""
    if bgp.bfd.enabled:
        related: tuple[Path, ...] = (("bgp", "bfd", "multiplier"), ("bgp", "hold_time_s"))
        yield from _slow(("bgp", "bfd"), bgp.bfd.interval, bgp.bfd.multiplier, bgp.hold_time_s, related)


def check_peer_bfd(peer: PeerEntry, at: Path, bgp: BgpSection, *, is_node: bool) -> Iterator[Problem]:
    """Problems of the BFD of the peer at the path `at`. `is_node`: its address is that of a node of the file."""
    own, path = peer.bfd, (*at, "bfd")
    if own is None:
        return
    if own.hop is not None and (peer.peer_selector is not None or is_node):
        message = "expected none: nodes of this file always use multi, since both ends have to agree"
        yield Problem((*path, "hop"), message, ((*at, "address"), (*at, "peer_selector"), ("nodes",)))
    elif own.hop is HopMode.SINGLE and own.min_ttl is not None:
        message = "has no effect: with `hop: single` the TTL has to be 255 (RFC 5881)"
        yield Problem((*path, "min_ttl"), message, ((*path, "hop"),), warning=True)
    if own.enabled and (own.interval is not None or own.multiplier is not None):
        hold = bgp.hold_time_s if peer.hold_time_s is None else peer.hold_time_s
        related = ((*path, "multiplier"), (*at, "hold_time_s"), ("bgp", "hold_time_s"), ("bgp", "bfd"))
        yield from _slow(path, own.interval or bgp.bfd.interval, own.multiplier or bgp.bfd.multiplier, hold, related)


def _slow(path: Path, interval: float, multiplier: int, hold: int, related: tuple[Path, ...]) -> Iterator[Problem]:
    if hold and interval * multiplier >= hold:
        takes = f"{interval_text(interval)} x {multiplier} is {interval * multiplier:g} s"
        message = f"brings nothing: {takes}, and the hold time is {hold} s"
        yield Problem((*path, "interval"), message, related, warning=True)
