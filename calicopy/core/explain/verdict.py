"""The verdict of an explanation: the one sentence that somebody reads at 3 a.m., drawn from the explanation alone."""
from __future__ import annotations

from calicopy.core.show import SHADOWED
from calicopy.core.views import ExplainedPathView, ExplainView, PathState

MOST_REASONS = 3  # of refused paths, named in the verdict


def verdict(view: ExplainView, *, holder_session: str) -> str:
    """The sentence. `holder_session`: how the session with the node that holds the addresses is, empty without one."""
    subject = str(view.asked.address) if view.asked.is_host else str(view.asked)
    if not view.found:
        return _nothing(view, subject, holder_session)
    if view.prefix is not None and view.prefix != view.asked:
        subject = f"{subject} (in {view.prefix})"
    return f"{subject} {_found(view)}{_instead(view)}"


def _nothing(view: ExplainView, subject: str, holder_session: str) -> str:
    holding = view.holding
    if holding.state == "outside-pools":
        return (
            f"{subject} has no answer: it lies in no pool of the cluster file, and what lies in none is neither given "
            f"out nor taken from a peer"
        )
    if holding.block is None:
        return f"{subject} has no route here: no block of pool {holding.pool} holds it"
    if holding.state == "unclaimed":
        return f"{subject} has no route here: no node holds its block {holding.block}, and nobody announces it"
    session = f" ({holder_session})" if holder_session else ""
    held = f"its block {holding.block} is {holding.node}'s"
    return f"{subject} has no route here: {held}, which does not announce it{session}"


def _found(view: ExplainView) -> str:
    paths = [one for one in view.paths if one.path.state is not PathState.LOCAL]
    best = next((one for one in paths if one.path.state is PathState.BEST), None)
    if view.kernel is not None and view.kernel.origin == "workload":
        return _workload(view)
    if view.kernel is not None and view.kernel.origin == "block":
        return _own(view)
    if len(paths) < len(view.paths):
        return _own(view)
    if best is not None:
        return _reached(view, best, sum(one.path.state is not PathState.REJECTED for one in paths))
    if paths:
        return _unused(paths)
    if view.kernel is not None:
        return f"is left over in the kernel from before ({view.kernel.text}): nobody announces it now, it goes in time"
    return f"is a block of this node that is {view.holding.state}: it is neither used nor announced"


def _workload(view: ExplainView) -> str:
    name = view.holding.handle.removeprefix("workload:") or "a workload"
    assert view.kernel is not None
    if view.kernel.installed:
        return f"is workload {name} on this node: {view.kernel.text}"
    return f"is workload {name} on this node, but its route is not in the kernel: {_kernel_reason(view)}"


def _own(view: ExplainView) -> str:
    told = sum(one.announced for one in view.announcements)
    announced = f"announced to {told} of {len(view.announcements)} peers"
    if view.asked.is_host and view.prefix != view.asked:
        if view.holding.handle:
            return f"is {view.holding.handle}'s, from a block of this node, and has no route of its own; {announced}"
        return "is a free address of this node's own block: nobody has it, so its packets are dropped"
    return f"is this node's own: {announced}"


def _reached(view: ExplainView, best: ExplainedPathView, count: int) -> str:
    choice = "the only path"
    if count > 1:
        why = "" if best.comparison is None else f": {best.comparison.message}"
        choice = f"the best of {count} paths{why}"
    owner = f" (a block of {best.path.owner})" if best.path.owner and best.path.owner != best.path.peer else ""
    stale = " (stale: kept while its session is lost)" if best.path.stale else ""
    source = f"from {best.path.peer}{owner}, {choice}{stale}"
    if view.kernel is None:
        return f"has a best path {source}, but is not in the kernel yet"
    if view.kernel.installed and (view.kernel.reason is None or view.kernel.reason.code == SHADOWED):
        return f"goes {view.kernel.text}: learned {source}"
    if view.kernel.installed:
        return f"still goes {view.kernel.text} ({_kernel_reason(view)}): learned {source}"
    return f"has a best path {source}, but is not in the kernel: {_kernel_reason(view)}"


def _unused(paths: list[ExplainedPathView]) -> str:
    whys = list(dict.fromkeys(one.why for one in paths))
    listed = "; ".join(whys[:MOST_REASONS]) + ("; ..." if len(whys) > MOST_REASONS else "")
    count = f"none of {len(paths)} paths is used"
    if len(paths) == 1:
        count = f"the one path, from {paths[0].path.peer}, is not used"
    return f"has no route here: {count}: {listed}"


def _kernel_reason(view: ExplainView) -> str:
    reason = None if view.kernel is None else view.kernel.reason
    return "not written yet" if reason is None else reason.message or reason.code


def _instead(view: ExplainView) -> str:
    """What the kernel does instead of what it should."""
    match = view.match
    if match is None or match.ours or match.prefix is None or view.prefix is None or view.kernel is None:
        return ""  # one of ours: for a block, the route of a workload at its first address
    if not view.kernel.installed:
        return f"; the kernel takes {match.text} instead"
    if match.prefix.length > view.prefix.length:
        return f"; BUT the kernel prefers a longer prefix: {match.text}"
    if match.prefix == view.prefix:
        return f"; BUT the kernel prefers another route for it, by metric: {match.text}"
    return f"; BUT the kernel takes {match.text}"
