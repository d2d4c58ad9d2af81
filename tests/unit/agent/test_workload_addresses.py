"""Which addresses a workload gets, and that it gets all of them or none."""
from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from calicopy.agent.wishes import Wish, work_out
from calicopy.agent.workloads import WorkloadPorts, Workloads
from calicopy.api.backend import AddressWishes, RefusalKind, RefusedError
from calicopy.core.views import WorkloadView
from calicopy.ipam import AddressRecord
from calicopy.net import Family, IPAddress, Prefix
from calicopy.store import StoreChange, WorkloadRecord

POOLS = {"pods": Family.IPV4, "more": Family.IPV4, "pods6": Family.IPV6}
FOUR, SIX = Family.IPV4, Family.IPV6
BOTH = (FOUR, SIX)


def wishes(
    asked: AddressWishes, *, served: Sequence[Family] = BOTH, held: Sequence[str] = ()
) -> list[Wish]:
    return work_out(asked, pools=POOLS, served=served, held=[ip_address(text) for text in held])


@pytest.mark.parametrize(
    ("served", "held", "families"),
    [
        (BOTH, (), [FOUR, SIX]),
        ((SIX,), (), [SIX]),
        ((FOUR,), (), [FOUR]),
        ((), (), [FOUR]),  # IPAM says that there is no pool
        (BOTH, ("10.244.0.1",), [FOUR]),  # attached before the node had an IPv6 pool
        ((FOUR,), ("10.244.0.1", "fd00::1"), [FOUR, SIX]),
    ],
)
def test_without_a_wish_it_is_what_the_workload_has_else_every_family_of_the_nodes_pools(
    served: Sequence[Family], held: Sequence[str], families: list[Family]
) -> None:
    assert wishes(AddressWishes(), served=served, held=held) == [Wish(family) for family in families]


def test_pools_and_addresses_are_of_their_family_and_the_other_family_is_free() -> None:
    nine = ip_address("fd00::9")
    asked = AddressWishes(addresses=(nine,), pools=("more",))
    assert wishes(asked) == [Wish(FOUR, "more"), Wish(SIX, "", nine)]
    assert wishes(AddressWishes(addresses=(nine,))) == [Wish(FOUR), Wish(SIX, "", nine)]
    assert wishes(AddressWishes(families=(SIX,), addresses=(nine,))) == [Wish(SIX, "", nine)]
    assert wishes(AddressWishes(pools=("unheard-of",)), served=()) == [Wish(FOUR, "unheard-of")]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (AddressWishes(families=(FOUR,), addresses=(ip_address("fd00::9"),)), "families-differ"),
        (AddressWishes(families=(SIX,), pools=("pods",)), "families-differ"),
        (AddressWishes(pools=("pods", "more")), "one-of-a-family"),
        (AddressWishes(addresses=(ip_address("fd00::9"), ip_address("fd00::a"))), "one-of-a-family"),
    ],
)
def test_what_contradicts_itself_is_refused(asked: AddressWishes, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        wishes(asked)
    assert (refused.value.kind, refused.value.code) == (RefusalKind.INVALID, code)


class Addresses:
    """What assigns and releases: IPv6 is exhausted when told so."""

    def __init__(self) -> None:
        self.held: dict[str, list[AddressRecord]] = {}
        self.exhausted: set[Family] = set()
        self.committed: list[StoreChange] = []

    async def assign(self, handle: str, wish: Wish) -> AddressRecord:
        if wish.family in self.exhausted:
            raise RefusedError(RefusalKind.EXHAUSTED, "pool-exhausted", "nothing is free")
        block = Prefix.parse("10.244.0.0/26" if wish.family is FOUR else "fd00::/122")
        record = AddressRecord(wish.address or block.address_at(1), block, handle, 1)
        self.held.setdefault(handle, []).append(record)
        return record

    async def release(self, handle: str) -> Sequence[AddressRecord]:
        return self.held.pop(handle, [])

    async def commit(self, changes: Sequence[StoreChange]) -> None:
        self.committed += changes

    def ports(self) -> WorkloadPorts:
        def work(asked: AddressWishes, held: Sequence[IPAddress]) -> list[Wish]:
            return work_out(asked, pools=POOLS, served=BOTH, held=held)

        async def installed(_: Prefix) -> None:
            return

        def changed(_view: WorkloadView, _deleted: bool) -> None:
            return

        return WorkloadPorts(
            work_out=work, assign=self.assign, release=self.release, commit=self.commit, mtu=lambda: 1500,
            routes_changed=lambda _: None, route_installed=installed, changed=changed,
        )  # fmt: skip


def stored(*addresses: str) -> WorkloadRecord:
    """A workload whose namespace is gone, so that nothing of the machine is touched."""
    given = tuple(ip_address(text) for text in addresses)
    return WorkloadRecord("web", "/nowhere/web", "eth0", "cali042d9853dcb", given, "", 1.0, 1500)


async def test_when_one_family_is_exhausted_the_address_of_the_other_is_given_back() -> None:
    addresses = Addresses()
    addresses.exhausted.add(SIX)
    calls = Workloads([], addresses.ports())
    await calls.inspect()
    with pytest.raises(RefusedError) as refused:
        await calls.attach("/nowhere/web", "web", interface="eth0", wishes=AddressWishes())
    assert refused.value.code == "pool-exhausted"
    assert addresses.held == {}
    assert addresses.committed == []
    assert calls.views() == []


async def test_a_namespace_that_is_not_there_costs_no_address_of_either_family() -> None:
    addresses = Addresses()
    calls = Workloads([], addresses.ports())
    await calls.inspect()
    with pytest.raises(RefusedError) as refused:
        await calls.attach("/nowhere/web", "web", interface="eth0", wishes=AddressWishes())
    assert refused.value.code == "netns-not-found"
    assert addresses.held == {}
    assert calls.views() == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (AddressWishes(families=(FOUR,)), "an address of ipv4 and ipv6, not ipv4"),
        (AddressWishes(addresses=(ip_address("fd00::9"),)), "address fd00::1, not fd00::9"),
    ],
)
async def test_an_attached_workload_asked_for_otherwise_is_refused(asked: AddressWishes, words: str) -> None:
    calls = Workloads([stored("10.244.0.1", "fd00::1")], Addresses().ports())
    await calls.inspect()
    with pytest.raises(RefusedError) as refused:
        await calls.attach("/nowhere/web", "web", interface="eth0", wishes=asked)
    assert (refused.value.code, words in str(refused.value)) == ("attached-otherwise", True)
