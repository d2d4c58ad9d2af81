"""`calicopy peers`."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import (
    Column,
    age,
    print_items,
    print_message,
    print_pairs,
    print_table,
    printable,
    table_lines,
    when,
    word,
)
from calicopy.cli.paint import Tone

if TYPE_CHECKING:
    from calicopy.v1.peer_pb2 import Peer, PeerFamily


@click.command()
@click.argument("name", required=False)
@with_target
def peers(target: Target, name: str | None) -> None:
    """BGP sessions of this node: all, or the one with the NAME (or address), in full.

    \b
    Examples:
      calicopy peers
      calicopy peers -o wide
      calicopy peers node2
      calicopy peers -o json | jq -r '.items[] | select(.state != "Established") | .name'
    """
    with connect(target) as channel:
        from calicopy.v1 import peer_pb2, peer_pb2_grpc

        stub = peer_pb2_grpc.PeerServiceStub(channel)
        if name is not None:
            one = call(stub.GetPeer, peer_pb2.GetPeerRequest(peer=name), target).peer
            _print_one(one, target)
            return
        found = call(stub.ListPeers, peer_pb2.ListPeersRequest(), target).peers
    if target.output.structured:
        print_items(found, target.output)
    else:
        print_table(found, PEER_COLUMNS, target.output, empty="no peers: this node is alone in its cluster file")


def total(peer: Peer, counter: str) -> int | str:
    """A counter over all families; `-` for a session that is down."""
    return sum(getattr(family, counter) for family in peer.families) if peer.families else "-"


def info(peer: Peer) -> str:
    """Why a session is down, and whether its routes are kept; what is not usual about one that is up."""
    if word(peer, "state") != "Established":
        why = peer.last_error or ("waiting for the peer to connect" if peer.passive else "connecting")
        kept = total(peer, "stale")
        return why if kept in (0, "-") else f"{why}; routes kept: {kept}"
    refused = total(peer, "rejected")
    notes = [f"{refused} refused"] if refused not in (0, "-") else []
    if any(not family.in_sync for family in peer.families if family.negotiated):
        notes.append("in exchange")
    return ", ".join(notes)


PEER_COLUMNS: list[Column[Peer]] = [
    Column("PEER", lambda peer: peer.name),
    Column("ADDRESS", lambda peer: peer.address),
    Column("AS", lambda peer: peer.asn),
    Column("TYPE", lambda peer: word(peer, "kind")),
    Column("STATE", lambda peer: word(peer, "state")),
    Column("SINCE", lambda peer: age(peer.state_since)),
    Column("RECEIVED", lambda peer: total(peer, "received")),
    Column("ACCEPTED", lambda peer: total(peer, "accepted")),
    Column("ADVERTISED", lambda peer: total(peer, "advertised")),
    Column("STALE", lambda peer: total(peer, "stale"), wide=True),
    Column("ROUTER-ID", lambda peer: peer.router_id, wide=True),
    Column("LOCAL", lambda peer: peer.local_address, wide=True),
    Column("HOLD", lambda peer: f"{peer.hold_time_s}s", wide=True),
    Column("UPDATES", lambda peer: peer.updates_received, wide=True),
    Column("LOST", lambda peer: peer.sessions_lost, wide=True),
    Column("RESTART", lambda peer: f"{peer.graceful_restart_time_s}s" if peer.graceful_restart else "-", wide=True),
    Column("INFO", info, tone=Tone.ASIDE),
]


def _print_one(peer: Peer, target: Target) -> None:
    if target.output.structured:
        print_message(peer, target.output)
        return
    print_pairs(_pairs(peer))
    if peer.families:
        click.echo()
        click.echo("\n".join(table_lines(peer.families, FAMILY_COLUMNS, wide=True)))
    for family in peer.families:
        for code, count in sorted(family.rejected_by_reason.items()):
            click.echo(f"  {word(family, 'family')}: {count} refused: {printable(code)}")


def _pairs(peer: Peer) -> Iterator[tuple[str, object]]:
    kind = "internal" if peer.asn == peer.local_asn else "external"
    state = word(peer, "state")
    yield "Peer", f"{peer.name} ({peer.address}), AS {peer.asn}, {kind}, {word(peer, 'kind')}"
    yield "State", f"{state} for {age(peer.state_since)}"
    if peer.HasField("last_error_at"):
        yield "Last error", f"{peer.last_error} ({when(peer.last_error_at)})"
    elif peer.last_error:
        yield "Last error", peer.last_error
    yield "Router id", peer.router_id
    yield "Local", f"{peer.local_address or '-'}, AS {peer.local_asn}{', passive' if peer.passive else ''}"
    yield "Hold time", f"{peer.hold_time_s}s"
    restart = f"yes, {peer.graceful_restart_time_s}s" if peer.graceful_restart else "no"
    yield "Graceful restart", restart
    yield "Capabilities", ", ".join(peer.capabilities)
    yield "Sessions", f"{peer.sessions_established} established, {peer.sessions_lost} lost"
    yield "Updates", f"{peer.updates_received} received, {peer.malformed_updates} malformed"


FAMILY_COLUMNS: list[Column[PeerFamily]] = [
    Column("FAMILY", lambda family: word(family, "family")),
    Column("NEGOTIATED", lambda family: family.negotiated),
    Column("RECEIVED", lambda family: family.received),
    Column("ACCEPTED", lambda family: family.accepted),
    Column("REFUSED", lambda family: family.rejected),
    Column("STALE", lambda family: family.stale),
    Column("ADVERTISED", lambda family: family.advertised),
    Column("EOR-IN", lambda family: family.end_of_rib_received),
    Column("EOR-OUT", lambda family: family.end_of_rib_sent),
    Column("IN-SYNC", lambda family: family.in_sync),
    Column("LIMIT", lambda family: family.prefix_limit),
]
