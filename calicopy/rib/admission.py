"""Which of a prefix's paths the import policy lets through, given the prefix's place: own blocks, holders, two live
owners.

Theory of operation: `admit` is a function of the set of paths and the place, and of nothing else. The rules:

- Refused by the prefix alone (outside the pools, wrong length): every path is refused with that reason.
- A block of ours is refused from everybody. When a node names itself its owner, that is a conflict, and reported.
- A host prefix inside a block of ours is accepted from a node (it lost the block and announces what it uses), unless a
  workload here uses the address too: then it is refused, and a conflict.
- A held block is accepted from its holder alone. When the holder announces it and another node does so too, both are
  alive and their files differed: the holder wins if the block is pinned to it, else the lower router id wins; the other
  loses.
- A free block that several nodes announce goes to the lowest router id.
- A path without an owner counts where nobody holds the block and nobody with a name announces it.
- A host prefix inside a block of another node goes by the same rules, but any node may own it.
- A host prefix inside nobody's block may have several owners (anycast): all of them are used.
- A path that a filter refuses tells who owns the prefix all the same, so that no filter makes us claim what is another
  node's; only then is it refused.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from calicopy.rib.model import Path
from calicopy.rib.places import Place, PlaceKind
from calicopy.rib.reasons import ImportReason


@dataclass(frozen=True, slots=True)
class Admission:
    """What the policy made of the paths of a prefix.

    `owner` is the router id of the node that the accepted paths belong to; `conflicts` those of the nodes that announce
    it besides the owner, the holder or us; `foreign_host`: see PathView.
    """

    accepted: tuple[Path, ...]
    rejected: tuple[tuple[Path, ImportReason], ...]
    owner: int | None = None
    conflicts: tuple[int, ...] = ()
    foreign_host: bool = False


def admit(paths: Sequence[Path], place: Place) -> Admission:
    """Sort the paths of one prefix into accepted and rejected."""
    if place.reason is not None:
        return Admission((), tuple((path, place.reason) for path in paths))
    filtered = ImportReason.FILTER
    rejected = [(path, path.refused) for path in paths if path.refused is not None and path.refused is not filtered]
    sound = [path for path in paths if path.refused is None or path.refused is filtered]
    return _without_filtered(_admit(sound, rejected, place))


def _without_filtered(admission: Admission) -> Admission:
    """Refuse what filters refuse of the accepted."""
    if all(path.refused is None for path in admission.accepted):
        return admission
    accepted = tuple(path for path in admission.accepted if path.refused is None)
    filtered = tuple((path, ImportReason.FILTER) for path in admission.accepted if path.refused is not None)
    return replace(admission, accepted=accepted, rejected=(*admission.rejected, *filtered))


def _admit(sound: list[Path], rejected: list[tuple[Path, ImportReason]], place: Place) -> Admission:
    owners = {path.owner for path in sound if path.owner is not None}
    match place.kind:
        case PlaceKind.OWN_BLOCK:
            return _refuse(sound, rejected, ImportReason.OURS, owners)
        case PlaceKind.USED_HOST:
            return _refuse(sound, rejected, ImportReason.USED_HERE, owners)
        case PlaceKind.OWN_HOST:
            winner = min(owners, default=None)
            return _award(sound, rejected, winner, owners, nameless=ImportReason.OURS, foreign_host=winner is not None)
        case PlaceKind.HOST:
            return _admit_host(sound, rejected, place, owners)
        case _:
            return _admit_block(sound, rejected, place, owners)


def _admit_block(
    sound: list[Path], rejected: list[tuple[Path, ImportReason]], place: Place, owners: set[int]
) -> Admission:
    holder = place.holder
    if holder is None and not owners:
        return Admission(tuple(sound), tuple(rejected))
    if holder is None:
        winner = min(owners)
    elif holder.router_id not in owners:
        return _refuse(sound, rejected, ImportReason.HELD_ELSEWHERE, set())  # one live owner: no conflict, only a no
    else:
        winner = holder.router_id if holder.pinned else min(owners)
    return _award(sound, rejected, winner, owners, nameless=ImportReason.HELD_ELSEWHERE)


def _admit_host(
    sound: list[Path], rejected: list[tuple[Path, ImportReason]], place: Place, owners: set[int]
) -> Admission:
    holder = None if place.holder is None else place.holder.router_id
    if holder is None and not owners:
        return Admission(tuple(sound), tuple(rejected))
    if holder is None and len(owners) > 1:
        nameless = tuple((path, ImportReason.HELD_ELSEWHERE) for path in sound if path.owner is None)
        return Admission(tuple(path for path in sound if path.owner is not None), (*rejected, *nameless))
    winner = holder if holder in owners else min(owners, default=None)
    foreign = holder is not None and winner not in (None, holder)
    return _award(sound, rejected, winner, owners, nameless=ImportReason.HELD_ELSEWHERE, foreign_host=foreign)


def _award(
    sound: list[Path], rejected: list[tuple[Path, ImportReason]], winner: int | None, owners: set[int], *,
    nameless: ImportReason, foreign_host: bool = False,
) -> Admission:  # fmt: skip
    """The winner's paths are accepted; those of other owners lost; those without one are refused as `nameless`."""
    for path in sound:
        if path.owner is None:
            rejected.append((path, nameless))
        elif path.owner != winner:
            rejected.append((path, ImportReason.LOST_CONFLICT))
    accepted = tuple(path for path in sound if winner is not None and path.owner == winner)
    return Admission(accepted, tuple(rejected), winner, tuple(sorted(owners - {winner})), foreign_host)


def _refuse(
    sound: list[Path], rejected: list[tuple[Path, ImportReason]], reason: ImportReason, owners: set[int]
) -> Admission:
    """None is accepted; every owner is in conflict with whom the prefix belongs to."""
    return Admission((), (*rejected, *((path, reason) for path in sound)), None, tuple(sorted(owners)))
