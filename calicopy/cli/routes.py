"""`calicopy routes`."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from calicopy.cli.client import call, connect
from calicopy.cli.errors import CliError
from calicopy.cli.options import Target, with_target
from calicopy.cli.output import Column, Plain, print_items, print_plain, print_table, printable, word
from calicopy.cli.paint import Tone

if TYPE_CHECKING:
    from calicopy.v1.route_pb2 import KernelRoute, ListRoutesRequest, Path, Route


@click.command()
@click.argument("prefix", metavar="[PREFIX|ADDRESS]", required=False)
@click.option("--received", metavar="PEER", help="What PEER announced, before policy (Adj-RIB-In).")
@click.option("--advertised", metavar="PEER", help="What PEER is told (Adj-RIB-Out).")
@click.option("--rejected", is_flag=True, help="Paths that the import policy refused, and why.")
@click.option("--reason", metavar="CODE", help="Only paths that lost or were refused for this reason.")
@click.option("--summary", is_flag=True, help="With --rejected: only how many paths each rule refused.")
@click.option(
    "--installed",
    is_flag=True,
    help="What the kernel holds of ours, as `ip route` writes it, with what is behind nexthop objects.",
)
@click.option("--peer", metavar="PEER", help="Only paths of PEER.")
@click.option("--family", type=click.Choice(["ipv4", "ipv6"]), help="Only this address family.")
@with_target
def routes(
    target: Target,
    *,
    prefix: str | None,
    received: str | None,
    advertised: str | None,
    rejected: bool,
    reason: str | None,
    summary: bool,
    installed: bool,
    peer: str | None,
    family: str | None,
) -> None:
    """Routes with all their paths: which one is best, why others lost or were refused, what the kernel holds.

    PREFIX shows that prefix, ADDRESS the longest match; exit code 1 when there is none. `calicopy explain` says more.

    \b
    Examples:
      calicopy routes
      calicopy routes 10.244.0.70
      calicopy routes --received node2 -o wide
      calicopy routes --rejected --summary
      calicopy routes --rejected --reason outside-pools
      calicopy routes --installed --family ipv6
    """
    views = {"RECEIVED": received, "ADVERTISED": advertised, "REJECTED": rejected, "INSTALLED": installed}
    chosen = [name for name, value in views.items() if value]
    if len(chosen) > 1:
        options = " and ".join(f"--{name.lower()}" for name in chosen)
        raise click.UsageError(f"{options} do not go together")
    if summary and not rejected:
        raise click.UsageError("--summary goes with --rejected")
    view = chosen[0] if chosen else "ALL"
    from calicopy.v1 import route_pb2

    request = route_pb2.ListRoutesRequest(
        view=f"ROUTE_VIEW_{view}",
        peer=received or advertised or peer or "",
        family=f"FAMILY_{family.upper()}" if family else None,
        prefix=prefix or "",
        reason=reason or "",
    )
    _show(target, request, view=view, summary=summary)


def _show(target: Target, request: ListRoutesRequest, *, view: str, summary: bool) -> None:
    from calicopy.v1 import node_pb2, node_pb2_grpc, route_pb2_grpc

    with connect(target) as channel:
        pages = call(route_pb2_grpc.RouteServiceStub(channel).ListRoutes, request, target)
        found = [route for page in pages for route in page.routes]
        metric = 0
        if view == "INSTALLED" and not target.output.structured:
            status = call(node_pb2_grpc.NodeServiceStub(channel).GetStatus, node_pb2.GetStatusRequest(), target).status
            metric = status.fib.metric
    if target.output.structured and summary:
        print_plain({"items": [refused.plain for refused in _refusals(found)]}, target.output)
    elif target.output.structured:
        print_items(found, target.output)
    if request.prefix and not found:
        raise CliError(f"{request.prefix}: no such route{' in this view' if request.view > 1 else ''}")
    if target.output.structured:
        return
    if view == "INSTALLED":
        for route in found:
            kernel = route.kernel
            click.echo(kernel_line(route.prefix, kernel.text, metric=metric, next_hop_id=kernel.next_hop_id))
    elif view == "REJECTED":
        _print_rejected(found, target, summary=summary)
    else:
        print_table(_rows(found), COLUMNS, target.output, empty="no routes")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One rule that refused paths, and how many. `rule`: the filter and its rule, or where a built-in rule is from."""

    reason: str
    rule: str
    message: str
    paths: int

    @property
    def plain(self) -> dict[str, Plain]:
        """For JSON and YAML."""
        return {"reason": self.reason, "rule": self.rule, "message": self.message, "paths": self.paths}


def _refusals(routes: Sequence[Route]) -> list[_Refusal]:
    """Per rule, the one that refused most first."""
    counts = Counter((path.reason.code, _rule(path), path.reason.message) for route in routes for path in route.paths)
    return [_Refusal(*key, count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _print_rejected(routes: Sequence[Route], target: Target, *, summary: bool) -> None:
    refusals = _refusals(routes)
    if not summary:
        print_table(_rows(routes), REJECTED_COLUMNS, target.output, empty="no routes")
        if refusals:
            click.echo()
    if refusals or summary:
        print_table(refusals, REFUSAL_COLUMNS, target.output, empty="no routes")


def _rule(path: Path) -> str:
    """The filter's rule that refused it, or where a built-in rule is from: a filter may have changed it as well."""
    return path.rule if path.reason.code == "filter" else path.reason.source


def kernel_line(prefix: str, text: str, *, metric: int, next_hop_id: int = 0) -> str:
    """A route as `ip route show proto N` writes it (iproute2): the type first, flags after the metric. Of a nexthop
    object both the id and what is behind it.
    """
    shown = prefix.removesuffix("/128" if ":" in prefix else "/32") + (f" nhid {next_hop_id}" if next_hop_id else "")
    words = text.split(" ")
    if words[0] == "blackhole":
        return f"blackhole {shown} metric {metric}"
    if words[0] == "nexthop":
        hops = [_flags_last(hop, [] if " weight " in hop else ["weight 1"]) for hop in text[8:].split(" nexthop ")]
        return f"{shown} metric {metric}" + "".join(f"\n\tnexthop {hop}" for hop in hops)
    return f"{shown} {_flags_last(text, [f'metric {metric}'])}"


def _flags_last(text: str, attributes: list[str]) -> str:
    """`text` with `attributes` put in before its flags."""
    flags = ["onlink"] if text.endswith(" onlink") else []
    return printable(" ".join([text.removesuffix(" onlink"), *attributes, *flags]))


@dataclass(frozen=True, slots=True)
class _Row:
    """One path of a route; a prefix is written at its first path only, as every BGP speaker does."""

    route: Route
    path: Path | None
    first: bool


def _rows(routes: Sequence[Route]) -> Iterator[_Row]:
    for route in routes:
        if not route.paths:
            yield _Row(route, None, True)
        for index, path in enumerate(route.paths):
            yield _Row(route, path, index == 0)


def _kernel(row: _Row) -> str:
    if not row.first or not row.route.HasField("kernel"):
        return ""
    kernel: KernelRoute = row.route.kernel
    why = kernel.reason.message or kernel.reason.code
    if not kernel.installed:
        return f"not installed: {why}" if why else "not installed"
    return f"{kernel.text} ({why})" if why else kernel.text


def _why(row: _Row) -> str:
    if row.path is None or not row.path.HasField("reason"):
        return ""
    reason = row.path.reason
    text = reason.message or reason.code
    return f"{text} ({reason.source})" if reason.source else text


def _attribute(name: str, *, wide: bool = False, header: str = "") -> Column[_Row]:
    def cell(row: _Row) -> object:
        if row.path is None:
            return ""
        value = getattr(row.path, name)
        return ",".join(value) if not isinstance(value, str | int) else value

    return Column(header or name.upper().replace("_", "-"), cell, wide)


def _optional(name: str, header: str) -> Column[_Row]:
    def cell(row: _Row) -> object:
        return getattr(row.path, name) if row.path is not None and row.path.HasField(name) else ""

    return Column(header, cell, wide=True)


def _state(row: _Row) -> str:
    """That of the path; without one, what the route is there for: `workload`, `left-over`."""
    if row.path is None:
        return row.route.kernel.origin
    return word(row.path, "state") + (", stale" if row.path.stale else "")


_PREFIX: Column[_Row] = Column("PREFIX", lambda row: row.route.prefix if row.first else " ")
_ATTRIBUTES = [
    _attribute("peer"),
    _attribute("next_hop"),
    _attribute("owner"),
    _attribute("as_path"),
    _attribute("origin", wide=True),
    _optional("local_pref", "LOCAL-PREF"),
    _optional("med", "MED"),
    _attribute("communities", wide=True),
    _attribute("large_communities", wide=True),
    _attribute("originator_id", wide=True),
    _attribute("cluster_list", wide=True),
]
REJECTED_COLUMNS: list[Column[_Row]] = [
    _PREFIX,
    *_ATTRIBUTES,
    Column("REASON", lambda row: row.path.reason.code if row.path is not None else "", tone=Tone.BAD),
    Column("RULE", lambda row: _rule(row.path) if row.path is not None else ""),
    Column("WHY", lambda row: row.path.reason.message if row.path is not None else "", tone=Tone.ASIDE),
]
REFUSAL_COLUMNS: list[Column[_Refusal]] = [
    Column("REASON", lambda refusal: refusal.reason),
    Column("PATHS", lambda refusal: refusal.paths),
    Column("RULE", lambda refusal: refusal.rule),
    Column("WHY", lambda refusal: refusal.message, tone=Tone.ASIDE),
]
COLUMNS: list[Column[_Row]] = [
    _PREFIX,
    Column("STATE", _state),
    *_ATTRIBUTES,
    _attribute("rule", wide=True),
    Column("KERNEL", _kernel),
    Column("WHY", _why, tone=Tone.ASIDE),
]
