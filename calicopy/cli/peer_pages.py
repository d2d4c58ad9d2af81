"""`calicopy peers NAME`: one session in full."""
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.bfd import bfd_lines
from calicopy.cli.options import Target
from calicopy.cli.output import (
    Column,
    age,
    answer_text,
    duration,
    enum_word,
    print_message,
    print_pairs,
    printable,
    table_lines,
    when,
    word,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from calicopy.v1.peer_pb2 import GracefulRestartCapability, Peer, PeerCapabilities, PeerFamily


def print_one(peer: Peer, target: Target) -> None:
    """One session: what it is, what was negotiated, timers, counters, and its families."""
    if target.output.structured:
        print_message(peer, target.output)
        return
    print_pairs([*_state(peer), *_negotiated(peer), *bfd_lines(peer), *_policy(peer), *_counters(peer)])
    if peer.families:
        click.echo()
        click.echo("\n".join(table_lines(peer.families, FAMILY_COLUMNS, wide=True)))
    for family in peer.families:
        for code, count in sorted(family.rejected_by_reason.items()):
            click.echo(f"  {word(family, 'family')}: {count} refused: {printable(code)}")


def _state(peer: Peer) -> Iterator[tuple[str, object]]:
    kind = "internal" if peer.asn == peer.local_asn else "external"
    yield "Peer", f"{peer.name} ({peer.address}), AS {peer.asn}, {kind}"
    yield "Role", f"{word(peer, 'role')}, hears {'all routes' if peer.advertise == 'all' else 'our own routes'}"
    yield "State", f"{word(peer, 'state')} for {age(peer.state_since)}"
    if peer.stopped:
        until = f", for {_left(peer.timers.stopped_until)} more" if peer.timers.HasField("stopped_until") else ""
        yield "Stopped", f"{peer.stopped}{until}"
    elif peer.HasField("last_error_at"):
        yield "Last error", f"{peer.last_error} ({when(peer.last_error_at)})"
    elif peer.last_error:
        yield "Last error", peer.last_error
    if peer.HasField("last_notification"):
        last = peer.last_notification
        by = "us" if last.sent_by_us else "the peer"
        yield "Last NOTIFICATION", f"{last.code}/{last.subcode} {last.text}, sent by {by} ({when(last.at)})"
    timers = peer.timers
    if timers.HasField("stale_until"):
        yield "Routes kept", f"as stale, for {_left(timers.stale_until)} more at most"
    if timers.HasField("lingering_since"):
        yield "Not configured", f"since {age(timers.lingering_since)}; {peer.lingering}"
    for one in peer.tunnels:
        yield "Tunnel address", f"{one.address}, answers: {answer_text(one)}"
    yield "Router id", peer.router_id
    yield "Local", f"{peer.local_address or '-'}, AS {peer.local_asn}{', passive' if peer.passive else ''}"
    if timers.hold_time_s:
        holds = f"{timers.hold_time_s}s (ours {timers.hold_time_configured_s}s, theirs {timers.hold_time_offered_s}s)"
        yield "Hold time", f"{holds}, keepalive every {timers.keepalive_s}s"
    else:
        yield "Hold time", f"{timers.hold_time_configured_s}s offered"


def _negotiated(peer: Peer) -> Iterator[tuple[str, object]]:
    yield "Capabilities", ", ".join(peer.capabilities)
    if not peer.HasField("negotiated"):
        return
    found = peer.negotiated
    ours = found.restart_ours if found.HasField("restart_ours") else None
    theirs = found.restart_theirs if found.HasField("restart_theirs") else None
    state = "on" if ours and theirs else "off"
    yield "Graceful restart", f"{state}; ours: {_restart(ours)}; theirs: {_restart(theirs)}"
    if found.add_path_send or found.add_path_receive:
        send, receive = _families(found, found.add_path_send), _families(found, found.add_path_receive)
        yield "ADD-PATH", f"send {send}; receive {receive}"
    unknown = [*(f"{one.code} (0x{one.value})" for one in found.unknown), *found.other_families]
    if unknown:
        yield "Unknown to us", ", ".join(unknown)
    if found.host_name:
        yield "Host name", found.host_name
    if peer.end_of_rib_held:
        yield "End-of-RIB", "held until the other peers' routes are here, 5s at most"


def _restart(restart: GracefulRestartCapability | None) -> str:
    """`120s, restarted, ipv4 (state kept)`."""
    if restart is None:
        return "not offered"
    bits = [text for on, text in ((restart.restarting, "restarted"), (restart.notification, "N bit")) if on]
    families = (f"{word(one, 'family')} ({'state kept' if one.forwarding else 'no state'})" for one in restart.families)
    return ", ".join([f"{restart.restart_time_s}s", *bits, *families])


def _families(found: PeerCapabilities, numbers: Iterable[int]) -> str:
    enum = found.DESCRIPTOR.fields_by_name["add_path_send"].enum_type
    return ", ".join(enum_word(enum, number) for number in numbers) or "none"


def _policy(peer: Peer) -> Iterator[tuple[str, object]]:
    yield "Import filters", ", ".join(peer.import_filters) or "none"
    yield "Export filters", ", ".join(peer.export_filters) or "none"
    limit = max((family.prefix_limit for family in peer.families), default=0)
    beyond = f"; {peer.beyond_limit} were beyond it" if peer.beyond_limit else ""
    yield "Prefix limit", f"{limit}, then {peer.prefix_limit_action}{beyond}"


def _counters(peer: Peer) -> Iterator[tuple[str, object]]:
    yield "Sessions", f"{peer.sessions_established} established, {peer.sessions_lost} lost"
    yield "Updates", f"{peer.updates_received} received, {peer.malformed_updates} malformed"
    yield "Refreshes", f"{peer.refreshes_sent} asked for, {peer.refreshes_received} asked of us"
    yield "NOTIFICATIONs", f"{peer.notifications_received} received, {peer.notifications_sent} sent"


def _left(moment: Timestamp) -> str:
    return duration(max(0, int(moment.seconds - time.time())))


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
]
