"""What a person is shown of a prefix: every path that was received for it, its state, and why."""
from __future__ import annotations

from collections.abc import Callable

from calicopy.net import Family, Packed, Prefix
from calicopy.rib.model import Path, PathState, PathView
from calicopy.rib.outcome import Outcome


def path_views(
    family: Family, packed: Packed, paths: tuple[Path, ...], outcome: Outcome | None, *, stale: Callable[[Path], bool]
) -> tuple[PathView, ...]:
    """The views of `paths`: best first, then multipath, losing, rejected, and last those not decided on yet."""
    prefix = Prefix(family, packed)
    views: list[PathView] = []
    present = set(paths)

    if outcome is not None:
        foreign = outcome.foreign_host
        selected = () if outcome.selection is None else outcome.selection.paths
        for place, path in enumerate(selected):
            state = PathState.MULTIPATH if place else PathState.BEST
            views.append(PathView(prefix, path, state, stale=stale(path), foreign_host=foreign))
        for path, step in outcome.losing:
            views.append(PathView(prefix, path, PathState.LOSING, step, stale=stale(path), foreign_host=foreign))
        for path, reason in outcome.rejected:
            views.append(PathView(prefix, path, PathState.REJECTED, reason=reason, stale=stale(path)))

    judged = [view for view in views if view.path in present]
    seen = {view.path for view in judged}
    waiting = [PathView(prefix, path, PathState.PENDING, stale=stale(path)) for path in paths if path not in seen]
    return (*judged, *waiting)
