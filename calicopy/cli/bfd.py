"""`calicopy bfd`, and what `calicopy peers NAME` says of BFD."""
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, Plain, age, duration, plain, print_plain, print_table, word

if TYPE_CHECKING:
    from calicopy.v1.peer_pb2 import Peer


@click.command()
@with_target
def bfd(target: Target) -> None:
    """BFD sessions of this node (RFC 5880), one for each watched peer: state, times, and what follows from it.

    BFD is `up`, `ignored` (it was never up since the BGP session began, or a side is administratively down), `down`
    (what the peer leads to is out of use) or `damped` (it is up again, and has to stay so for a while first).

    \b
    Examples:
      calicopy bfd
      calicopy bfd -o wide
      calicopy bfd -o json | jq -r '.items[] | select(.bfd.effect != "up") | .name'
      calicopy peers node2               # all of one session
    """
    with connect(target) as channel:
        from calicopy.v1 import peer_pb2, peer_pb2_grpc

        found = call(peer_pb2_grpc.PeerServiceStub(channel).ListPeers, peer_pb2.ListPeersRequest(), target).peers
    watched = [peer for peer in found if peer.HasField("bfd")]
    if target.output.structured:
        items: list[Plain] = [{"name": peer.name, "address": peer.address, "bfd": plain(peer.bfd)} for peer in watched]
        print_plain({"items": items}, target.output)
    else:
        print_table(watched, BFD_COLUMNS, target.output, empty="no peer is watched by BFD")


def bfd_lines(peer: Peer) -> Iterator[tuple[str, object]]:
    """What is known of the peer's BFD session."""
    if not peer.HasField("bfd"):
        yield "BFD", "off"
        return
    found = peer.bfd
    yield "BFD", word(found, "effect") + (f": {found.reason}" if found.reason else "")
    if found.HasField("out_of_use_since"):
        left = ""
        if found.HasField("out_of_use_until"):
            left = f", for {duration(max(0, round(found.out_of_use_until.seconds - time.time())))} more"
        yield "Out of use", f"{', '.join(found.next_hops)}, for {age(found.out_of_use_since)}{left}"
    if not found.HasField("session"):
        return
    session = found.session
    theirs = word(session, "remote_state")
    yield "BFD state", f"{word(session, 'state')} for {age(session.state_since)}, theirs {theirs}"
    if session.diagnostic or session.remote_diagnostic:
        yield "BFD diagnostic", f"{session.diagnostic or 'none'}; theirs: {session.remote_diagnostic or 'none'}"
    bit = "set" if session.remote_independent else "clear"
    yield "BFD discriminators", f"{session.local_discriminator}, theirs {session.remote_discriminator}"
    yield "BFD mode", f"{session.hop} hop, C bit of the peer {bit}"
    yield "BFD times", _times(peer)
    yield "BFD packets", f"{session.sent} sent, {session.received} received; {session.ups} ups, {session.downs} downs"
    if session.dropped:
        yield "BFD dropped", ", ".join(f"{count} {name}" for name, count in sorted(session.dropped.items()))


def _times(peer: Peer) -> str:
    session = peer.bfd.session
    if not session.detection_time_us:
        return "-"
    return f"a packet every {session.tx_interval_us / 1000:g} ms, down after {session.detection_time_us / 1000:g} ms"


BFD_COLUMNS: list[Column[Peer]] = [
    Column("PEER", lambda peer: peer.name),
    Column("ADDRESS", lambda peer: peer.address),
    Column("BFD", lambda peer: word(peer.bfd, "effect")),
    Column("STATE", lambda peer: word(peer.bfd.session, "state") or "-"),
    Column("SINCE", lambda peer: age(peer.bfd.session.state_since)),
    Column("THEIRS", lambda peer: word(peer.bfd.session, "remote_state") or "-"),
    Column("HOP", lambda peer: peer.bfd.session.hop or "-"),
    Column("INTERVAL", lambda peer: f"{peer.bfd.session.tx_interval_us / 1000:g}ms"),
    Column("DETECTION", lambda peer: f"{peer.bfd.session.detection_time_us / 1000:g}ms"),
    Column("UPS", lambda peer: peer.bfd.session.ups),
    Column("DOWNS", lambda peer: peer.bfd.session.downs),
    Column("SENT", lambda peer: peer.bfd.session.sent, wide=True),
    Column("RECEIVED", lambda peer: peer.bfd.session.received, wide=True),
    Column("DROPPED", lambda peer: sum(peer.bfd.session.dropped.values()), wide=True),
    Column("INFO", lambda peer: peer.bfd.reason),
]
