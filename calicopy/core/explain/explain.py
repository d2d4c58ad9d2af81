"""`explain`: everything that this node knows of one address or prefix, and why, with the verdict in one sentence.

Theory of operation: reading only, never on the hot path. What decides is searched from the length asked for down to 0,
a few look-ups per length, so that a large table costs nothing: for a prefix itself, for an address the longest one that
is used. Each part is made where its knowledge is (`paths`: the decision, `parts`: the rest); the
verdict is drawn from the parts alone, so that it cannot say anything that they do not.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from calicopy.core.core import Core
from calicopy.core.explain.parts import announcements, holding, hops, match_view
from calicopy.core.explain.paths import changes_of, comparisons, is_tie, why_not_shared
from calicopy.core.explain.verdict import verdict
from calicopy.core.show import inside, kernel_view, local_path_view, path_reason, path_view
from calicopy.core.show.bfd import out_of_use
from calicopy.core.views import ComparisonView, ExplainedPathView, ExplainView, KernelRouteView
from calicopy.fib import KernelMatch
from calicopy.net import Prefix, format_packed
from calicopy.rib import DecisionStep, ImportReason, PathState, PathView, RibContext

MOST_INSIDE = 3  # prefixes inside of one that is not there itself, named in the verdict


def decides(core: Core, asked: Prefix) -> Prefix | None:
    """The prefix that an explanation of `asked` is about: a prefix itself, else the longest that holds it and is used,
    else the longest of which there are refused paths; None when there is nothing."""
    blocks = {view.prefix for view in core.ipam.blocks()}
    if not asked.is_host and _is_known(core, asked, blocks):
        return asked
    refused = None
    for length in range(asked.length, -1, -1):
        prefix = asked.supernet(length)
        if _is_used(core, prefix, blocks):
            return prefix
        if refused is None and core.rib.lookup(prefix.family, prefix.packed):
            refused = prefix
    return refused


def _is_used(core: Core, prefix: Prefix, blocks: set[Prefix]) -> bool:
    return prefix in core.exports.prefixes or prefix in blocks or core.fib.status(prefix) is not None


def _is_known(core: Core, prefix: Prefix, blocks: set[Prefix]) -> bool:
    return _is_used(core, prefix, blocks) or bool(core.rib.lookup(prefix.family, prefix.packed))


def explain(
    core: Core,
    asked: Prefix,
    match: KernelMatch | None = None,
    *,
    named: Callable[[KernelRouteView], KernelRouteView] = lambda view: view,
    now: float | None = None,
) -> ExplainView:
    """The explanation of an address (as a host prefix) or a prefix. `match` is the kernel's own answer, when it was
    asked; `named` gives the errno of a failed write its name. `now`: monotonic seconds, for what is said to be so long
    ago.
    """
    prefix = decides(core, asked)
    kernel = None if prefix is None else kernel_view(core, prefix)
    held = holding(core, asked)
    view = ExplainView(
        asked=asked,
        prefix=prefix,
        found=prefix is not None,
        verdict="",
        holding=held,
        paths=() if prefix is None else _paths(core, prefix, now),
        hops=() if prefix is None else hops(core, prefix),
        kernel=None if kernel is None else named(kernel),
        match=None if match is None else match_view(core, match, prefix),
        announcements=() if prefix is None else announcements(core, prefix),
        others=tuple(_others(core, asked, prefix)),
    )
    return replace(view, verdict=verdict(view, holder_session=_session(core, held.node, now)))


def _session(core: Core, node: str, now: float | None) -> str:
    """How the session with a node is, or what BFD says of it; empty when there is none."""
    for peer in core.peers.values():
        if node and peer.configured.node == node:
            if peer.is_up:
                return "its session is up"
            out = out_of_use(core, peer.configured.address, now)
            return out or f"its session is down: {peer.failure or 'not up yet'}"
    return ""


def _others(core: Core, asked: Prefix, decided: Prefix | None) -> Iterator[str]:
    """Further prefixes that hold `asked`, the longest first, and, when it is not there itself, those that lie in it."""
    blocks = {view.prefix for view in core.ipam.blocks()}
    for length in range(asked.length, -1, -1):
        prefix = asked.supernet(length)
        if prefix != decided and _is_known(core, prefix, blocks):
            yield f"{prefix} {_state(core, prefix)}"
    if decided == asked or asked.is_host:
        return
    found = list(islice(inside(core.rib.prefixes(asked.family), asked), MOST_INSIDE + 1))
    if found:
        more = ", ..." if len(found) > MOST_INSIDE else ""
        listed = ", ".join(format_packed(packed, asked.family) for packed in found[:MOST_INSIDE]) + more
        yield f"{listed} inside of it: `calicopy routes {asked}` shows all"


def _state(core: Core, prefix: Prefix) -> str:
    kernel = kernel_view(core, prefix)
    if kernel is not None and kernel.installed:
        return f"is in the kernel: {kernel.text}"
    if kernel is not None:
        return f"is not in the kernel: {kernel.reason.message if kernel.reason else 'not written yet'}"
    views = core.rib.lookup(prefix.family, prefix.packed)
    reasons = dict.fromkeys(view.reason.value for view in views if view.reason is not None)
    return f"is not used: {', '.join(reasons)}" if reasons else "is not used"


# -- paths ------------------------------------------------------------------------------------------------------


def _paths(core: Core, prefix: Prefix, now: float | None) -> tuple[ExplainedPathView, ...]:
    views = core.rib.lookup(prefix.family, prefix.packed)
    compared = comparisons(views, core.host.facts)
    found = []
    for view in views:
        comparison = compared.get(view.path)
        out = out_of_use(core, view.path.next_hop, now) if view.step is DecisionStep.BFD_DOWN else ""
        why = out or _why(core, view, views, comparison)
        found.append(ExplainedPathView(path_view(core, view), why, comparison, changes_of(view.path)))
    if prefix in core.exports.prefixes:
        found.insert(0, ExplainedPathView(local_path_view(core), "our own: it needs no decision"))
    return tuple(found)


def _why(core: Core, view: PathView, views: Sequence[PathView], comparison: ComparisonView | None) -> str:
    match view.state:
        case PathState.BEST if comparison is not None:
            return f"decided by {comparison.message}, against {comparison.other_peer}"
        case PathState.BEST:
            return "the only path that was let through"
        case PathState.MULTIPATH:
            return "shares the load: equal to the best up to the metric"
        case PathState.LOSING:
            return _lost(view, views, comparison, core.rib.context)
        case PathState.REJECTED:
            reason = path_reason(view)
            if reason is None or reason.code == ImportReason.FILTER.value:
                return "refused" if reason is None else reason.message
            return f"refused: {reason.message} ({reason.source})"
        case PathState.PENDING:
            return "not decided on yet"


def _lost(view: PathView, views: Sequence[PathView], comparison: ComparisonView | None, context: RibContext) -> str:
    message = "" if comparison is None else comparison.message
    beside = ""
    if is_tie(view.step):
        beside = why_not_shared(view.path, views, relax=context.multipath_relax, most=context.multipath_max)
    return f"lost at {message}" + (f"; {beside}" if beside else "")
