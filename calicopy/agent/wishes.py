"""Which addresses a workload gets: from what the caller asked for, and what there is.

A workload has one address at most of each family. Unless told otherwise it gets one of every family that a pool of
this node has; one that is attached keeps the families that it has, so that the same call again changes nothing. Pure.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from calicopy.api.backend import AddressWishes, RefusalKind, RefusedError
from calicopy.net import Family, IPAddress

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Wish:
    """One address: of the family, from the pool (its name; empty: any), this one (None: any)."""

    family: Family
    pool: str = ""
    address: IPAddress | None = None


def family_of(address: IPAddress) -> Family:
    """The family of an address."""
    return Family.IPV4 if address.version == 4 else Family.IPV6


def work_out(
    asked: AddressWishes, *, pools: Mapping[str, Family], served: Iterable[Family], held: Sequence[IPAddress]
) -> list[Wish]:
    """One wish a family, IPv4 first.

    `pools` are all of the cluster file by name, `served` the families that a pool of this node has, `held` what the
    workload has already. RefusedError(INVALID) when the parts of `asked` contradict each other.
    """
    addresses = _by_family(((family_of(address), address) for address in asked.addresses), "addresses")
    # IPAM refuses an unknown pool by name, whatever the family.
    named = _by_family(((pools.get(name, Family.IPV4), name) for name in asked.pools), "pools")
    meant = {*addresses, *named}
    if asked.families:
        families = set(asked.families)
        for family in sorted(meant - families):
            message = f"an address of {family} is asked for, and {family} is not among the families asked for"
            raise RefusedError(RefusalKind.INVALID, "families-differ", message)
    else:
        families = meant | ({family_of(address) for address in held} or set(served))
    return [Wish(family, named.get(family, ""), addresses.get(family)) for family in sorted(families or {Family.IPV4})]


def _by_family(pairs: Iterable[tuple[Family, Value]], what: str) -> dict[Family, Value]:
    found: dict[Family, Value] = {}
    for family, value in pairs:
        if found.setdefault(family, value) != value:
            message = f"two {what} of {family} are asked for, {found[family]} and {value}: expected one of a family"
            raise RefusedError(RefusalKind.INVALID, "one-of-a-family", message)
    return found
