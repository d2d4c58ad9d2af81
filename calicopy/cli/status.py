"""`calicopy status`."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.errors import ExitCode
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, age, answer_text, print_message, print_pairs, printable, table_lines, when, word
from calicopy.cli.paint import Tone, paint
from calicopy.cli.peers import PEER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calicopy.v1.node_pb2 import IpamStatus, NextHopStatus, NodeStatus, Problem, TunnelStatus
    from calicopy.v1.peer_pb2 import Peer

SHOWN_NEXT_HOPS = 20
LOSSES = (
    "fib.writes_failed", "fib.next_hop_writes_failed", "kernel.events_lost", "kernel.retries", "speaker.events_lost",
    "ipam.store_failures",
)  # fmt: skip
"""Counters of what went wrong and was made good: shown when it happened."""
PACKET_LOSSES = (
    "udp.out_full", "udp.out_failed", "udp.out_too_big", "udp.out_no_node", "udp.out_malformed", "udp.in_failed",
    "udp.in_foreign", "udp.in_malformed", "udp.in_not_ecn",
)  # fmt: skip
"""Counters of packets that encapsulation udp did not carry."""

TUNNEL_COLUMNS: tuple[Column[TunnelStatus], ...] = (
    Column("ENCAPSULATION", lambda tunnel: tunnel.encapsulation),
    Column("DEVICE", lambda tunnel: tunnel.device),
    Column("ADDRESSES", lambda tunnel: ", ".join(tunnel.addresses)),
    Column("MTU", lambda tunnel: tunnel.mtu or "-"),
    Column("POOLS USE IT", lambda tunnel: tunnel.used),
    Column("STATE", lambda tunnel: tunnel.error or ("up" if tunnel.up else "down")),
)
NEXT_HOP_COLUMNS: tuple[Column[NextHopStatus], ...] = (
    Column("NODE", lambda way: way.node),
    Column("ADDRESS", lambda way: way.address),
    Column("VIA", lambda way: way.gateway or ("on link" if way.device else "unreachable")),
    Column("DEVICE", lambda way: way.device),
    Column("MTU", lambda way: way.mtu or "-"),
    Column("ENCAPSULATION", lambda way: way.encapsulation),
    Column("MTU OF PODS", lambda way: way.pod_mtu or "-"),
    Column("ANSWERS", lambda way: ", ".join(dict.fromkeys(map(answer_text, way.answers))) or "-"),
    Column("POOLS", lambda way: ", ".join(way.pools), wide=True),
)


@click.command()
@click.option("--check", is_flag=True, help="Exit with 5, and why on stderr, unless ready and not degraded.")
@with_target
def status(target: Target, check: bool) -> None:
    """How this node is: health, what is wrong and why, peers, routes in the kernel, addresses.

    \b
    Examples:
      calicopy status
      calicopy status --check && echo healthy
      calicopy status -o json | jq .fib
    """
    with connect(target) as channel:
        from calicopy.v1 import node_pb2, node_pb2_grpc, peer_pb2, peer_pb2_grpc

        node = call(node_pb2_grpc.NodeServiceStub(channel).GetStatus, node_pb2.GetStatusRequest(), target).status
        found: Sequence[Peer] = ()
        if not target.output.structured:
            found = call(peer_pb2_grpc.PeerServiceStub(channel).ListPeers, peer_pb2.ListPeersRequest(), target).peers
    if target.output.structured:
        print_message(node, target.output)
    else:
        _print(node, found, wide=target.output.value == "wide")
    if check and not (node.ready and node.health == node_pb2.HEALTH_OK):
        for line in _reasons(node):
            click.echo(line, err=True)
        click.get_current_context().exit(int(ExitCode.UNHEALTHY))


def _print(node: NodeStatus, peers: Sequence[Peer], *, wide: bool) -> None:
    print_pairs(_pairs(node))
    if node.problems:
        click.echo("\n" + paint("Problems", Tone.HEADER))
        for problem in node.problems:
            click.echo(f"  {paint(_problem(problem), Tone.BAD)}")
    lines = table_lines(peers, PEER_COLUMNS, wide=wide) if peers else ["none: this node is alone in its cluster file"]
    _print_table("BGP peers", lines)
    if node.tunnels:
        _print_table("Tunnels", table_lines(node.tunnels, TUNNEL_COLUMNS, wide=wide))
    if node.next_hops:
        shown = node.next_hops if wide else node.next_hops[:SHOWN_NEXT_HOPS]
        lines = table_lines(shown, NEXT_HOP_COLUMNS, wide=wide)
        if len(shown) < len(node.next_hops):
            lines.append(f"and {len(node.next_hops) - len(shown)} more: -o wide shows all")
        _print_table("Ways to other nodes", lines)
    if wide and node.counters:
        _print_table("Counters", [f"{name}  {value}" for name, value in sorted(node.counters.items())])


def _reasons(node: NodeStatus) -> Iterator[str]:
    yield f"calicopy: the node is {'ready, and degraded' if node.ready else 'not ready'}"
    for problem in node.reasons:
        yield f"  {_problem(problem)} ({printable(problem.reason.code)})"
    for problem in node.degraded:
        yield f"  degraded: {_problem(problem)} ({printable(problem.reason.code)})"


def _print_table(title: str, lines: Sequence[str]) -> None:
    click.echo("\n" + paint(title, Tone.HEADER))
    for line in lines:
        click.echo(f"  {line}")


def _assigned(ipam: IpamStatus) -> str:
    """By family, where there are two: what is free of one is of no use to the other."""
    if len(ipam.families) < 2:
        return f"{ipam.assigned} assigned, {ipam.free} free"
    return ", ".join(f"{word(one, 'family')} {one.assigned} assigned {one.free} free" for one in ipam.families)


def _problem(problem: Problem) -> str:
    where = f"{problem.component} {problem.object}".rstrip()
    return printable(f"{where}: {problem.reason.message or problem.reason.code}")


def _pairs(node: NodeStatus) -> Iterator[tuple[str, object]]:
    fib, ipam = node.fib, node.ipam
    yield "Node", f"{node.node}, AS {node.asn}, router id {node.router_id}"
    yield "Addresses", ", ".join(node.addresses)
    yield "Health", word(node, "health")
    yield "Ready", "yes" if node.ready else f"no: {_problem(node.reasons[0])}" if node.reasons else "no"
    if node.HasField("drain"):
        yield "Drain", _drain(node)
    yield "Agent", f"calicopy {node.version}, up {age(node.started_at)}, {node.config_file}"
    yield "Speaker", _speaker(node)
    yield "Peers", f"{node.peers.established} of {node.peers.total} established"
    sync = "in sync" if fib.in_sync else "not in sync yet"
    waiting = f", {fib.pending} waiting" if fib.pending else ""
    failed = f", {fib.failed} failed" if fib.failed else ""
    marks = f"proto {fib.protocol} metric {fib.metric}"
    yield "Routes", f"{fib.installed} of {fib.desired} in the kernel{waiting}{failed}, {sync} ({marks})"
    pending = f" ({ipam.pending_blocks} pending)" if ipam.pending_blocks else ""
    conflicts = f", {ipam.conflicts} in conflict" if ipam.conflicts else ""
    blocks = f"{ipam.blocks} block{'' if ipam.blocks == 1 else 's'}{pending}"
    yield "Addresses of pods", f"{blocks}, {_assigned(ipam)}{conflicts}"
    yield "MTU of pods", node.workload_mtu or "-"
    if node.tunnels:
        yield "From strangers", _strangers(node.tunnels)
    if losses := _risen(node, LOSSES):
        yield "Losses", f"{losses}; each was tried, or read, again"
    if dropped := _risen(node, PACKET_LOSSES):
        yield "Packets lost", dropped


def _risen(node: NodeStatus, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {node.counters[name]}" for name in names if node.counters.get(name))


def _strangers(tunnels: Sequence[TunnelStatus]) -> str:
    counted = [
        f"{tunnel.encapsulation} {tunnel.stranger_packets}" for tunnel in tunnels if tunnel.HasField("stranger_packets")
    ]
    return f"dropped: {', '.join(counted)}" if counted else "not dropped, not counted"


def _drain(node: NodeStatus) -> str:
    drain = node.drain
    since = f"{word(drain, 'phase')} since {when(drain.since)} ({age(drain.since)})"
    if drain.waiting:
        return f"{since}, waiting for other paths ({drain.waiting} to come), {drain.wait_s:g} s at most"
    return f"{since}, withdrawn without another path: {drain.without_count}" if drain.without_count else since


def _speaker(node: NodeStatus) -> str:
    if node.speaker.attached:
        return f"ExaBGP, pid {node.speaker.pid}"
    return f"not attached: {node.speaker.last_error or 'waiting for ExaBGP'}"
