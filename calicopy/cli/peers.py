"""`calicopy peers`."""
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, age, print_items, print_message, print_table, printable, word
from calicopy.cli.paint import Tone
from calicopy.cli.peer_pages import print_one

if TYPE_CHECKING:
    from calicopy.v1.peer_pb2 import Peer


class PeersGroup(click.Group):
    """What does not begin with the name of a command is for `show`: `calicopy peers NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`show` stands before all that names no command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=PeersGroup, options_metavar="", subcommand_metavar="[NAME] [OPTIONS] | COMMAND ...")
def peers() -> None:
    """BGP sessions of this node: all, or the one with the NAME (or address), in full.

    \b
    Examples:
      calicopy peers
      calicopy peers -o wide
      calicopy peers node2
      calicopy peers -o json | jq -r '.items[] | select(.state != "Established") | .name'
      calicopy peers refresh node2 --in
    """


@peers.command(short_help="All sessions, or one in full (the default).")
@click.argument("name", required=False)
@with_target
def show(target: Target, name: str | None) -> None:
    """All sessions, or the one with the NAME, in full (the default).

    \b
    Examples:
      calicopy peers
      calicopy peers 192.0.2.9 -o yaml
      calicopy peers show refresh        # a peer that is named as a command
    """
    with connect(target) as channel:
        from calicopy.v1 import peer_pb2, peer_pb2_grpc

        stub = peer_pb2_grpc.PeerServiceStub(channel)
        if name is not None:
            one = call(stub.GetPeer, peer_pb2.GetPeerRequest(peer=name), target).peer
            print_one(one, target)
            return
        found = call(stub.ListPeers, peer_pb2.ListPeersRequest(), target).peers
    if target.output.structured:
        print_items(found, target.output)
    else:
        print_table(found, PEER_COLUMNS, target.output, empty="no peers: this node is alone in its cluster file")


@peers.command(short_help="Have routes sent again, without a reset.")
@click.argument("name")
@click.option("--in", "inbound", is_flag=True, help="Ask for the peer's routes; what it does not send again goes.")
@click.option("--out", "outbound", is_flag=True, help="Send ours again.")
@with_target
def refresh(target: Target, name: str, *, inbound: bool, outbound: bool) -> None:
    """Have the routes of the session with NAME sent again (RFC 2918), both ways by default. The session stays up.

    \b
    Examples:
      calicopy peers refresh node2
      calicopy peers refresh tor-a --in
    """
    with connect(target) as channel:
        from calicopy.v1 import peer_pb2, peer_pb2_grpc

        both = not inbound and not outbound
        request = peer_pb2.RefreshPeerRequest(peer=name, inbound=inbound or both, outbound=outbound or both)
        peer = call(peer_pb2_grpc.PeerServiceStub(channel).RefreshPeer, request, target).peer
    ways = " and ".join(
        text for on, text in ((request.inbound, "its routes are asked for"), (request.outbound, "ours sent")) if on
    )
    _done(peer, f"{peer.name}: {ways} again", target)


@peers.command(short_help="Begin a session anew; start one that was stopped.")
@click.argument("name")
@with_target
def reset(target: Target, name: str) -> None:
    """End the session with NAME and begin it anew; routes stay meanwhile where graceful restart was negotiated.

    A session that was stopped (prefix limit, hold-down) is dialled again.

    \b
    Examples:
      calicopy peers reset node2
    """
    with connect(target) as channel:
        from calicopy.v1 import peer_pb2, peer_pb2_grpc

        request = peer_pb2.ResetPeerRequest(peer=name)
        peer = call(peer_pb2_grpc.PeerServiceStub(channel).ResetPeer, request, target).peer
    _done(peer, f"{peer.name}: {'is dialled again' if peer.stopped else 'the session is reset'}", target)


def _done(peer: Peer, text: str, target: Target) -> None:
    """What was begun; the peer as it was before, for programs."""
    if target.output.structured:
        print_message(peer, target.output)
    else:
        click.echo(printable(text))


def total(peer: Peer, counter: str) -> int | str:
    """A counter over all families; `-` for a session that is down."""
    return sum(getattr(family, counter) for family in peer.families) if peer.families else "-"


def bfd_word(peer: Peer) -> str:
    """What BFD says of the peer, in a word: `off` where it is not watched."""
    return word(peer.bfd, "effect") if peer.HasField("bfd") else "off"


def info(peer: Peer) -> str:
    """Why a session is down, and whether its routes are kept; what is not usual about one that is up."""
    if peer.stopped:
        return peer.stopped
    if word(peer, "state") != "Established":
        why = peer.last_error or ("waiting for the peer to connect" if peer.passive else "connecting")
        kept = total(peer, "stale")
        return why if kept in (0, "-") else f"{why}; routes kept: {kept}"
    refused = total(peer, "rejected")
    notes = [f"{refused} refused"] if refused not in (0, "-") else []
    if peer.beyond_limit:
        notes.append(f"{peer.beyond_limit} beyond the limit")
    if peer.lingering:
        notes.append(peer.lingering)
    if any(not family.in_sync for family in peer.families if family.negotiated):
        notes.append("in exchange")
    return ", ".join(notes)


PEER_COLUMNS: list[Column[Peer]] = [
    Column("PEER", lambda peer: peer.name),
    Column("ADDRESS", lambda peer: peer.address),
    Column("AS", lambda peer: peer.asn),
    Column("TYPE", lambda peer: word(peer, "role")),
    Column("STATE", lambda peer: word(peer, "state")),
    Column("SINCE", lambda peer: age(peer.state_since)),
    Column("BFD", bfd_word),
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
