"""Which step of the decision put the paths of a prefix where they are, with the values that were compared.

Theory of operation: the RIB says at which step a path lost, not against what. Here the values are taken from the paths
themselves, by the same rules as `calicopy.rib.decision`. What decided for the best path is the last step at which
another one fell: all before it left a rival in the race.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from calicopy.bgp import format_community, format_large_community
from calicopy.bgp.communities import GRACEFUL_SHUTDOWN
from calicopy.core.views import ComparisonView
from calicopy.net import IPAddress
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import DecisionStep, Path, PathState, PathView

Facts = Mapping[IPAddress, NextHopFacts]
_ORDER = {step: place for place, step in enumerate(DecisionStep)}
_TIE_STEPS = (DecisionStep.ROUTER_ID, DecisionStep.CLUSTER_LIST, DecisionStep.PEER_ADDRESS, DecisionStep.PATH_ID)
_SIGNS = {DecisionStep.LOCAL_PREF: (">", "<"), DecisionStep.EXTERNAL: ("before", "after")}
"""Between the winner's value and the loser's, and the other way round; all other steps prefer the lower."""


def step_value(step: DecisionStep, path: Path, facts: Facts) -> str:
    """What `path` brings into a step of the decision, as text."""
    attributes = path.effective
    match step:
        case DecisionStep.NEXT_HOP:
            return f"{path.next_hop or 'no next hop'} {'reachable' if _reachable(path, facts) else 'unreachable'}"
        case DecisionStep.BFD_DOWN:
            return str(path.next_hop)
        case DecisionStep.LOCAL_PREF:
            return str(path.local_pref)
        case DecisionStep.AS_PATH:
            return str(attributes.as_path.length)
        case DecisionStep.ORIGIN:
            return str(attributes.origin)
        case DecisionStep.MED:
            return str(path.med)
        case DecisionStep.EXTERNAL:
            return "iBGP" if path.peer.ibgp else "eBGP"
        case DecisionStep.METRIC:
            known = None if path.next_hop is None else facts.get(path.next_hop)
            return str(known.metric if known is not None else 0)
        case DecisionStep.ROUTER_ID:
            return str(IPv4Address(path.identifier))
        case DecisionStep.CLUSTER_LIST:
            return str(len(attributes.cluster_list))
        case DecisionStep.PEER_ADDRESS:
            return str(path.peer.address)
        case DecisionStep.PATH_ID:
            return str(path.path_id)


def _reachable(path: Path, facts: Facts) -> bool:
    known = None if path.next_hop is None else facts.get(path.next_hop)
    return known is not None and known.reachable


def compare(step: DecisionStep, path: Path, other: Path, *, won: bool, facts: Facts) -> ComparisonView:
    """`path` beside `other` at a step; `won`: `path` is the one that stayed."""
    value, other_value = step_value(step, path, facts), step_value(step, other, facts)
    sign = _SIGNS.get(step, ("<", ">"))[0 if won else 1]
    if step is DecisionStep.NEXT_HOP:
        text = f"{step.value}: {other_value if won else value}"
    elif step is DecisionStep.BFD_DOWN:
        text = f"{step.value}: {other_value if won else value} is out of use"
    else:
        text = f"{step.value}: {value} {sign} {other_value}"
    return ComparisonView(step.value, step.source, value, other_value, other.peer.name, f"{text} ({step.source})")


def comparisons(views: Sequence[PathView], facts: Facts) -> dict[Path, ComparisonView]:
    """The step that decided, for every path that was let through: for the best where others are, for each loser."""
    best = next((view.path for view in views if view.state is PathState.BEST), None)
    accepted = [view.path for view in views if view.state in (PathState.BEST, PathState.MULTIPATH, PathState.LOSING)]
    rivals = [(view.step, view.path) for view in views if view.state is PathState.LOSING and view.step is not None]
    found = {
        path: compare(step, path, _beaten_by(path, step, accepted, best), won=False, facts=facts)
        for step, path in rivals
    }
    if best is None:
        return found
    rivals += [(_tie_step(best, view.path, facts), view.path) for view in views if view.state is PathState.MULTIPATH]
    if rivals:
        step, rival = max(rivals, key=lambda pair: _ORDER[pair[0]])
        found[best] = compare(step, _beaten_by(rival, step, accepted, best), rival, won=True, facts=facts)
    return found


def _beaten_by(loser: Path, step: DecisionStep, accepted: Sequence[Path], best: Path | None) -> Path:
    """The path that took `loser` out. Only at MED may that be another than the best: paths of one neighbor AS alone are
    compared there (RFC 4271 section 9.1.2.2 c)."""
    if step is not DecisionStep.MED or best is None or best.neighbor_as == loser.neighbor_as:
        return best or loser

    def before_med(path: Path) -> tuple[int, int, int]:
        return path.local_pref, path.effective.as_path.length, path.effective.origin

    rivals = [
        path for path in accepted if path.neighbor_as == loser.neighbor_as and before_med(path) == before_med(loser)
    ]
    return min(rivals, key=lambda path: path.med)


def _tie_step(best: Path, other: Path, facts: Facts) -> DecisionStep:
    """The step that put `best` before a path of equal cost."""
    differing = (step for step in _TIE_STEPS if step_value(step, best, facts) != step_value(step, other, facts))
    return next(differing, DecisionStep.PATH_ID)


def why_not_shared(loser: Path, views: Sequence[PathView], *, relax: bool, most: int) -> str:
    """Why a path that lost at a tie-breaker alone, so of equal cost, is not among the multipath."""
    selected = [view.path for view in views if view.state in (PathState.BEST, PathState.MULTIPATH)]
    if not selected:
        return ""
    same = next((path for path in selected if path.next_hop == loser.next_hop), None)
    if same is not None:
        return f"of equal cost, but the next hop of the path from {same.peer.name} is the same"
    if not relax and loser.neighbor_as != selected[0].neighbor_as:
        return "of equal cost, but of another neighbor AS than the best (multipath_relax is off)"
    return f"of equal cost, but {most} paths share the load already (multipath_max_paths)"


def changes_of(path: Path) -> str:
    """What import policy changed of the attributes as received, and by which rule; empty when nothing."""
    before, after = path.attributes, path.effective
    if before == after:
        return ""
    pairs = {
        "local-pref": (before.local_pref, after.local_pref),
        "MED": (before.med, after.med),
        "AS path": (before.as_path, after.as_path),
    }
    listed = [f"{name} {_or_none(old)} -> {_or_none(new)}" for name, (old, new) in pairs.items() if old != new]
    texts = [
        (set(map(format_community, before.communities)), set(map(format_community, after.communities))),
        (set(map(format_large_community, before.large_communities)),
         set(map(format_large_community, after.large_communities))),
    ]  # fmt: skip
    listed += [f"community {each} added" for old, new in texts for each in sorted(new - old)]
    listed += [f"community {each} removed" for old, new in texts for each in sorted(old - new)]
    causes = [] if path.rule is None else [str(path.rule)]
    if GRACEFUL_SHUTDOWN in before.communities and after.local_pref == 0:
        causes.append("GRACEFUL_SHUTDOWN (RFC 8326)")
    if not path.peer.ibgp and before.local_pref is not None:
        causes.append("it came over eBGP (RFC 4271 5.1.5)")
    return f"{', '.join(listed) or 'attributes'}: by {' and '.join(causes) or 'import policy'}"


def _or_none(value: object) -> str:
    return "none" if value is None else str(value) or "(empty)"


def is_tie(step: DecisionStep | None) -> bool:
    """Whether paths that reach this step are of equal cost."""
    return step in _TIE_STEPS
