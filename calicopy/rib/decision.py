"""The decision process: which of the paths that the import policy let through are used, and at which step the others
lost.

Theory of operation: a straight ladder. Each step looks at the paths that are left and takes some out; no step looks at
the order in which paths arrived, so the outcome depends on the set alone. Down to the metric, paths that are left are
equally good, and the first `multipath_max` next hops of them are used together; the steps after that only put them in
order.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from calicopy.net import IPAddress
from calicopy.rib.model import NextHopResolution, Path
from calicopy.rib.reasons import DecisionStep

NextHops = Mapping[IPAddress, NextHopResolution]
_TIE_STEPS = (DecisionStep.ROUTER_ID, DecisionStep.CLUSTER_LIST, DecisionStep.PEER_ADDRESS, DecisionStep.PATH_ID)


@dataclass(frozen=True, slots=True)
class Ranking:
    """`selected`: best first, then multipath. `losing`: every other path, with the step that it lost at."""

    selected: tuple[Path, ...]
    losing: tuple[tuple[Path, DecisionStep], ...]


class _Ladder:
    """The paths that are left, and those that were taken out."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.left = list(paths)
        self.losing: list[tuple[Path, DecisionStep]] = []

    def keep(self, step: DecisionStep, good: Callable[[Path], bool]) -> None:
        """Take out what is not `good`."""
        self.losing += [(path, step) for path in self.left if not good(path)]
        self.left = [path for path in self.left if good(path)]

    def keep_lowest(self, step: DecisionStep, rank: Callable[[Path], int]) -> None:
        """Take out what ranks above the lowest."""
        if len(self.left) > 1:
            lowest = min(map(rank, self.left))
            self.keep(step, lambda path: rank(path) == lowest)


def rank(
    paths: Iterable[Path],
    next_hops: NextHops,
    *,
    multipath_max: int,
    multipath_relax: bool,
    out_of_use: Collection[IPAddress] = (),
) -> Ranking:
    """The paths of one prefix, in any order, to what is selected and why the rest is not. `out_of_use`: next hops that
    BFD has found to be gone.
    """
    ladder = _Ladder(paths)

    # RFC 4271 9.1.2.1: a path whose next hop cannot be resolved takes no part. A next hop that nobody has looked up
    # yet counts as unresolved; its facts bring the prefix back here.
    def resolved(path: Path) -> bool:
        facts = None if path.next_hop is None else next_hops.get(path.next_hop)
        return facts is not None and facts.reachable

    ladder.keep(DecisionStep.NEXT_HOP, resolved)

    # RFC 5882 4.2: what BFD says to be gone is so for the protocol too, whatever the kernel's tables have of it.
    if out_of_use:
        ladder.keep(DecisionStep.BFD_DOWN, lambda path: path.next_hop not in out_of_use)

    # RFC 4271 9.1.1: the highest degree of preference, which is LOCAL_PREF (over eBGP our own default).
    ladder.keep_lowest(DecisionStep.LOCAL_PREF, lambda path: -path.local_pref)

    # RFC 4271 9.1.2.2 a: the shortest AS_PATH. An AS_SET counts 1, confederation segments nothing (RFC 5065 5.3).
    ladder.keep_lowest(DecisionStep.AS_PATH, lambda path: path.effective.as_path.length)

    # RFC 4271 9.1.2.2 b: the lowest ORIGIN, IGP before EGP before INCOMPLETE.
    ladder.keep_lowest(DecisionStep.ORIGIN, lambda path: path.effective.origin)

    # RFC 4271 9.1.2.2 c: the lowest MULTI_EXIT_DISC, among paths of the same neighbor AS alone. The lowest of each AS
    # is found before any path is taken out, so that no order of comparison can matter.
    lowest: dict[int | None, int] = {}
    for path in ladder.left:
        lowest[path.neighbor_as] = min(path.med, lowest.get(path.neighbor_as, path.med))
    ladder.keep(DecisionStep.MED, lambda path: path.med == lowest[path.neighbor_as])

    # RFC 4271 9.1.2.2 d: if any path came over eBGP, those over iBGP go.
    ladder.keep_lowest(DecisionStep.EXTERNAL, lambda path: path.peer.ibgp)

    # RFC 4271 9.1.2.2 e: the lowest interior cost, which is the kernel's metric to the next hop.
    def metric(path: Path) -> int:
        return 0 if path.next_hop is None else next_hops[path.next_hop].metric

    ladder.keep_lowest(DecisionStep.METRIC, metric)

    # RFC 4271 9.1.2.2 f, g, RFC 4456 9 and the path id: no better, but one must be the best.
    ladder.left.sort(key=_tie)
    selected = _multipath(ladder.left, multipath_max=multipath_max, multipath_relax=multipath_relax)
    ladder.losing += [(path, _tie_step(path, selected[0])) for path in ladder.left if path not in selected]
    return Ranking(tuple(selected), tuple(ladder.losing))


def _tie(path: Path) -> tuple[int, int, tuple[int, int], int]:
    """What paths of equal cost are put in order by, the lowest first; one entry per step of `_TIE_STEPS`.

    ORIGINATOR_ID or else the peer's router id (RFC 4271 9.1.2.2 f, RFC 4456 9); the length of CLUSTER_LIST (RFC 4456
    9); the peer's address, IPv4 first (RFC 4271 9.1.2.2 g); the path id, which tells apart paths of one peer (RFC 7911
    3).
    """
    address = path.peer.address
    return path.identifier, len(path.effective.cluster_list), (address.version, int(address)), path.path_id


def _tie_step(loser: Path, best: Path) -> DecisionStep:
    pairs = zip(_TIE_STEPS, _tie(loser), _tie(best), strict=True)
    return next((step for step, lost, won in pairs if lost != won), DecisionStep.PATH_ID)


def _multipath(paths: list[Path], *, multipath_max: int, multipath_relax: bool) -> list[Path]:
    """The best, and those beside it that the prefix is reached by too. `paths` are of equal cost, in order.

    AS_PATH lengths are equal by now; the neighbor AS must be, unless relaxed. A next hop counts once: the same path
    heard from two reflectors is one way, not two.
    """
    selected = paths[:1]
    for path in paths[1:]:
        if len(selected) >= multipath_max:
            break
        same_as = multipath_relax or path.neighbor_as == selected[0].neighbor_as
        if same_as and all(path.next_hop != other.next_hop for other in selected):
            selected.append(path)
    return selected
