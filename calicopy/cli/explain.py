"""`calicopy explain`."""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.errors import ExitCode
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import print_message, print_pairs, printable, word
from calicopy.cli.paint import Tone, paint, tone_of

if TYPE_CHECKING:
    from calicopy.v1.route_pb2 import ExplainedPath, Explanation, Hop, Path

INDENT = "  "


@click.command()
@click.argument("target_", metavar="PREFIX|ADDRESS")
@with_target
def explain(target: Target, target_: str) -> None:
    """Why an address or a prefix goes where it goes, or nowhere: the verdict first, then all that led to it.

    Every path with the step of the decision that it won or lost at, and the values; next hops; encapsulation; what the
    kernel holds, and what it answers itself; who is told. Exit code 1 when there is nothing to explain.

    \b
    Examples:
      calicopy explain 10.244.0.70
      calicopy explain 10.244.0.64/26 -o yaml
    """
    from calicopy.v1 import route_pb2, route_pb2_grpc

    with connect(target) as channel:
        request = route_pb2.ExplainRequest(target=target_)
        found = call(route_pb2_grpc.RouteServiceStub(channel).Explain, request, target).explanation
    if target.output.structured:
        print_message(found, target.output)
    else:
        _print(found)
    if not found.found:
        click.get_current_context().exit(int(ExitCode.ERROR))


def _print(found: Explanation) -> None:
    click.echo(paint(printable(found.verdict), Tone.HEADER))
    click.echo()
    print_pairs(_pairs(found))
    _section("Paths", (line for path in found.paths for line in _path(path)))
    _section("Next hops", (line for hop in found.hops for line in _hop(hop)))
    _section("Kernel", _kernel(found))
    _section("Announced", _announced(found))
    _section("Besides", iter(found.others))


def _section(title: str, lines: Iterator[str]) -> None:
    """A line that begins with a state has its colour; a deeper one, which says why, is dim."""
    rows = list(lines)
    if not rows:
        return
    click.echo("\n" + paint(title, Tone.HEADER))
    for row in rows:
        text = printable(row)
        deeper = text.startswith(" ")
        first, _, rest = text.partition(" ")
        painted = paint(text, Tone.ASIDE) if deeper else f"{paint(first, tone_of(first))} {rest}".rstrip()
        click.echo(INDENT + painted)


def _pairs(found: Explanation) -> Iterator[tuple[str, object]]:
    holding = found.holding
    if found.prefix and found.prefix.removesuffix("/128" if ":" in found.prefix else "/32") != found.asked:
        yield "Prefix", f"{found.prefix}, the longest match of {found.asked}"
    else:
        yield "Prefix", found.prefix or f"none for {found.asked}"
    if holding.pool:
        mode = f" {holding.mode}" if holding.encapsulation != "none" else ""
        name = "" if holding.pool == holding.pool_cidr else f"{holding.pool} "
        yield "Pool", f"{name}{holding.pool_cidr}, encapsulation {holding.encapsulation}{mode}"
    else:
        yield "Pool", f"none: {holding.why}"
    if holding.block:
        yield "Block", f"{holding.block}: {holding.why}"
    for conflict in holding.conflicts:
        yield "Conflict", conflict


def _path(explained: ExplainedPath) -> Iterator[str]:
    path = explained.path
    state = word(path, "state") + (", stale" if path.stale else "")
    if state == "local":
        yield f"local this node: {explained.why}"
        return
    way = f"next hop {path.next_hop or '-'}" + (f", owner {path.owner}" if path.owner else "")
    number = f", path id {path.path_id}" if path.path_id else ""
    yield f"{state} from {path.peer} ({path.peer_address}{number}), {way}"
    yield f"{INDENT}{', '.join(_attributes(path))}"
    if explained.changed:
        yield f"{INDENT}changed: {explained.changed}"
    yield f"{INDENT}{explained.why}"


def _attributes(path: Path) -> Iterator[str]:
    """Those that the decision looks at, then those that there are."""
    yield f"local-pref {path.local_pref if path.HasField('local_pref') else '-'}"
    yield f"AS path {path.as_path or '(empty)'}"
    yield f"origin {path.origin}"
    yield f"MED {path.med if path.HasField('med') else '-'}"
    if path.communities or path.large_communities:
        yield f"communities {' '.join([*path.communities, *path.large_communities])}"
    if path.originator_id:
        yield f"originator {path.originator_id}"
    if path.cluster_list:
        yield f"cluster list {' '.join(path.cluster_list)}"


def _hop(hop: Hop) -> Iterator[str]:
    if not hop.reachable:
        place = "not reachable"
    elif hop.on_link:
        place = f"on link, dev {hop.device}, metric {hop.metric}"
    else:
        place = f"behind gateway {hop.gateway or '-'}, dev {hop.device}, metric {hop.metric}"
    yield f"{hop.next_hop or 'none'} of the path from {hop.peer}: {place}"
    encapsulation = "no encapsulation" if hop.encapsulation == "none" else f"encapsulation {hop.encapsulation}"
    yield f"{INDENT}{encapsulation}: {hop.encapsulation_why}"
    yield f"{INDENT}{hop.text or 'not used: ' + (hop.reason.message or hop.reason.code)}"


def _kernel(found: Explanation) -> Iterator[str]:
    if found.HasField("kernel"):
        kernel = found.kernel
        why = kernel.reason.message or kernel.reason.code
        if kernel.installed:
            led = f" (nexthop object {kernel.next_hop_id})" if kernel.next_hop_id else ""
            yield f"holds {found.prefix} {kernel.text}{led}" + (f" ({why})" if why else "")
        else:
            wanted = f"; wanted: {kernel.text}" if kernel.text else ""
            yield f"not installed: {why or 'not written yet'}{wanted}"
    elif found.found:
        yield "holds no route of ours for it, nor is one wanted"
    if found.HasField("match"):
        match = found.match
        whose = "ours" if match.ours else "not ours"
        yield f"answers for {match.address}: {match.text} ({whose})"


def _announced(found: Explanation) -> Iterator[str]:
    """Peers of one reason on one line: there may be hundreds."""
    told = [each.peer for each in found.announcements if each.announced]
    if told:
        yield f"to {', '.join(told)}"
    reasons: dict[str, list[str]] = {}
    for each in found.announcements:
        if not each.announced:
            source = f" ({each.reason.source})" if each.reason.source else ""
            reasons.setdefault(f"{each.reason.message or each.reason.code}{source}", []).append(each.peer)
    for reason, peers in reasons.items():
        yield f"not to {', '.join(peers)}: {reason}"
