"""Nexthop objects as the kernel holds them, by id: what goes with what, by its rules (net/ipv4/nexthop.c)."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from calicopy.fib.types import NextHopChange, NextHopObject, NextHopOp


def take_away(held: dict[int, NextHopObject], numbers: Iterable[int]) -> tuple[set[int], set[int]]:
    """Take these away. Gives those that were there, with the groups that went with their last member; and the groups
    that are left with fewer members.
    """
    lost, fewer = {number for number in numbers if held.pop(number, None) is not None}, set[int]()
    for group in list(groups_with(held, lost)):
        rest = tuple(member for member in group.members if member[0] not in lost)
        if rest:
            held[group.id] = replace(group, members=rest)
            fewer.add(group.id)
        else:
            del held[group.id]
            lost.add(group.id)
    return lost, fewer


def groups_with(held: Mapping[int, NextHopObject], numbers: Collection[int]) -> Iterator[NextHopObject]:
    """The groups that one of these is a member of."""
    return (one for one in held.values() if any(number in numbers for number, _ in one.members))


def over(held: Mapping[int, NextHopObject], ifindexes: Collection[int]) -> list[int]:
    """Those that leave by one of these interfaces."""
    return [number for number, one in held.items() if one.hop is not None and one.hop.ifindex in ifindexes]


def is_like(held: NextHopObject | None, wanted: NextHopObject) -> bool:
    """Whether an object whose id says that it stood for the same may be brought to what is wanted: it leads nowhere, to
    the same gateway, or to some of the members, so that no packet goes to another node meanwhile.
    """
    if held is None or held.family is not wanted.family or bool(held.members) != bool(wanted.members):
        return False
    if held.members:
        return set(held.members) <= set(wanted.members)
    return held.hop is None or (wanted.hop is not None and held.hop.gateway == wanted.hop.gateway)


def adoptable(
    held: Mapping[int, NextHopObject], wanted: NextHopObject, likely: int, *, taken: Collection[int]
) -> int | None:
    """The id of an object of before that may stand for what is wanted: the `likely` one, or one with that content."""

    def fits(number: int) -> bool:
        return number not in taken and replace(held[number], id=wanted.id) == wanted

    if likely in held and (fits(likely) or (likely not in taken and is_like(held[likely], wanted))):
        return likely
    return None if wanted.is_blackhole else next(filter(fits, held), None)


def leave_groups(
    held: Mapping[int, NextHopObject], leaving: Collection[int], *, but: Collection[int]
) -> list[NextHopChange]:
    """Groups of several, `but` for these, without members that are about to drop packets."""
    changes = []
    for group in groups_with(held, leaving):
        if group.id not in but and len(group.members) > 1:
            rest = tuple(one for one in group.members if one[0] not in leaving) or group.members[:1]
            changes.append(NextHopChange(NextHopOp.REPLACE, replace(group, members=rest)))
    return changes
