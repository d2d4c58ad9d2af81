"""Our Adj-RIB-Out inside ExaBGP: what a peer ends up with is what was said last, in few messages."""
from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicopy.speaker import launcher

launcher.prepare_environment()  # before exabgp is loaded

from exabgp.bgp.message import Action  # noqa: E402 - after the environment
from exabgp.bgp.message.refresh import RouteRefresh  # noqa: E402 - as above
from exabgp.environment import getenv  # noqa: E402 - as above
from exabgp.logger import log  # noqa: E402 - as above
from exabgp.protocol.family import AFI, SAFI  # noqa: E402 - as above
from exabgp.reactor.api import API  # noqa: E402 - as above
from exabgp.reactor.api.command.command import Command  # noqa: E402 - as above
from exabgp.rib.outgoing import OutgoingRIB  # noqa: E402 - as above

from calicopy.bgp import RawAttribute  # noqa: E402 - as above
from calicopy.net import Family  # noqa: E402 - as above
from calicopy.seam.speaker import AnnounceGroup, WithdrawGroup  # noqa: E402 - as above
from calicopy.speaker.bulk import LeanRIB, inject  # noqa: E402 - as above
from calicopy.speaker.commands import announce_lines, withdraw_lines  # noqa: E402 - as above

log.init(getenv())
V4, V6 = (AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)
PREFIXES = ("10.1.0.0/26", "10.1.0.64/26", "10.1.1.0/24")
API_OF_EXABGP = API(None)
NAME = "neighbor 10.9.0.2 local-ip 10.9.0.1 local-as 1 peer-as 1 router-id 10.9.0.1 family-allowed in-open"


def command(prefixes: Iterable[str], med: int | None, *, family: Family = Family.IPV4) -> str:
    """An announcement with this MED, or a withdrawal."""
    if med is None:
        gone = WithdrawGroup(family=family, prefixes=tuple(prefixes))
        return next(withdraw_lines(["10.9.0.2"], [gone]))
    attributes = (RawAttribute(0x80, 4, med.to_bytes(4, "big")),)
    next_hop = "10.9.0.1" if family is Family.IPV4 else "fd00::1"
    group = AnnounceGroup(family=family, next_hop=next_hop, attributes=attributes, prefixes=tuple(prefixes))
    return next(announce_lines(["10.9.0.2"], [group]))


class Reactor:
    """As much of ExaBGP's reactor as a bulk command touches, around real Adj-RIBs-Out."""

    def __init__(self, kind: type[OutgoingRIB], *names: str) -> None:
        self.ribs = {name: kind(True, [V4, V6]) for name in names or (NAME,)}
        neighbors = {
            name: SimpleNamespace(rib=SimpleNamespace(outgoing=rib), families=lambda: [V4, V6])
            for name, rib in self.ribs.items()
        }
        self.configuration = SimpleNamespace(neighbors=neighbors)
        self.answers: list[str] = []
        self.processes = SimpleNamespace(
            answer_done=lambda _: self.answers.append("done"), answer_error=lambda _: self.answers.append("error")
        )

    def peers(self, _: str) -> list[str]:
        return list(self.ribs)

    def run(self, line: str) -> None:
        action = Action.ANNOUNCE if " announce " in line else Action.WITHDRAW
        for _ in inject(API_OF_EXABGP, self, "bridge", line, action):
            pass


def taken(rib: OutgoingRIB, held: dict[str, str]) -> int:
    """What a peer holds after everything that waits was sent; gives the number of messages."""
    messages = [one for one in rib.updates(True) if not isinstance(one, RouteRefresh)]
    for update in messages:
        for nlri in update.nlris:
            if nlri.action == Action.WITHDRAW:
                held.pop(nlri.cidr.prefix(), None)
            else:
                held[nlri.cidr.prefix()] = str(update.attributes[4])
    return len(messages)


STEPS = st.lists(
    st.one_of(
        st.just("send"),
        st.just("refresh"),
        st.tuples(st.sets(st.sampled_from(PREFIXES), min_size=1), st.sampled_from([None, 1, 2, 3])),
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_a_peer_holds_what_was_said_last_whatever_came_before_it_was_sent(steps: list[Any]) -> None:
    reactor = Reactor(LeanRIB)
    rib = reactor.ribs[NAME]
    held: dict[str, str] = {}
    wanted: dict[str, str] = {}
    for step in steps:
        if step == "send":
            taken(rib, held)
        elif step == "refresh":
            rib.resend(True, V4)
        else:
            prefixes, med = step
            reactor.run(command(sorted(prefixes), med))
            wanted = {key: value for key, value in wanted.items() if key not in prefixes}
            wanted.update(dict.fromkeys(prefixes, str(med)) if med is not None else {})
    taken(rib, held)
    assert held == wanted
    assert {change.nlri.cidr.prefix() for change in rib.cached_changes()} == set(wanted)


def test_exabgps_own_rib_gets_the_order_of_quick_changes_wrong_which_is_why_ours_stands_there() -> None:
    """When this fails ExaBGP has mended it: then LeanRIB._update_rib can go."""
    quick = [command([PREFIXES[0]], None), command([PREFIXES[1]], 1), command([PREFIXES[1]], None)]
    held: dict[str, dict[str, str]] = {}
    for kind in (OutgoingRIB, LeanRIB):
        reactor = Reactor(kind)
        for line in quick:
            reactor.run(line)
        held[kind.__name__] = {}
        taken(reactor.ribs[NAME], held[kind.__name__])
    assert held == {"OutgoingRIB": {PREFIXES[1]: "1"}, "LeanRIB": {}}


@pytest.mark.parametrize("family", [Family.IPV4, Family.IPV6], ids=str)
def test_routes_with_one_set_of_attributes_share_an_update_also_at_a_refresh(family: Family) -> None:
    reactor = Reactor(LeanRIB)
    rib = reactor.ribs[NAME]
    prefixes = [f"10.1.{i}.0/24" if family is Family.IPV4 else f"fd01:{i:x}::/64" for i in range(100)]
    for med in (1, 2):
        reactor.run(command(prefixes[med::2], med, family=family))
    assert taken(rib, {}) == 2
    rib.resend(False)
    assert taken(rib, {}) == 2
    reactor.run(command(prefixes, None, family=family))
    assert taken(rib, {}) == 1


def test_a_refresh_goes_out_between_its_two_marks() -> None:
    reactor = Reactor(LeanRIB)
    rib = reactor.ribs[NAME]
    reactor.run(command(PREFIXES, 1))
    taken(rib, {})
    rib.resend(True, V4)
    first, update, last = rib.updates(True)
    assert (first.reserved, last.reserved) == (RouteRefresh.start, RouteRefresh.end)
    assert len(update.nlris) == len(PREFIXES)


def test_all_peers_of_a_command_hold_one_object_for_a_route() -> None:
    other = NAME.replace("10.9.0.2", "10.9.0.3")
    reactor = Reactor(LeanRIB, NAME, other, NAME.replace("10.9.0.2", "10.9.0.4"))
    reactor.run(command(PREFIXES, 1).replace("neighbor 10.9.0.2", "neighbor 10.9.0.2 , neighbor 10.9.0.3"))
    first, second, third = (list(rib.cached_changes()) for rib in reactor.ribs.values())
    assert len(first) == len(PREFIXES)
    assert all(one is two for one, two in zip(first, second, strict=True))
    assert third == []
    assert reactor.answers == ["done"]


@pytest.mark.parametrize(
    "line",
    [
        command(PREFIXES, 1).replace("10.9.0.2", "10.9.0.77"),
        command(PREFIXES, 1).replace("/26", "/33"),
        command(PREFIXES, 1).split(" nlri ")[0],
    ],
    ids=["unknown neighbor", "no prefix", "none at all"],
)
def test_a_command_that_makes_no_sense_is_answered_with_an_error(line: str) -> None:
    reactor = Reactor(LeanRIB)
    reactor.run(line)
    assert reactor.answers == ["error"]
    assert not reactor.ribs[NAME].pending()


def test_exabgps_registers_take_our_commands_and_our_rib() -> None:
    """Fails loudly when ExaBGP changes: then bulk.py has to be looked at. (The speaker runs on, only slower.)"""
    from exabgp import rib

    assert not [problem for problem in launcher.install(frozenset()) if "announcements" in problem]
    assert rib.OutgoingRIB is LeanRIB
    for name in ("announce attributes", "withdraw attributes"):
        assert Command.callback["text"][name].__module__ == "calicopy.speaker.bulk"


@pytest.mark.parametrize(
    ("attribute", "wide", "narrow"),
    [
        (RawAttribute(0xE0, 7, bytes.fromhex("000100ff0a000001")), "e00708000100ff0a000001", "e007065ba00a000001"),
        (RawAttribute(0xE0, 7, bytes.fromhex("000000070a000001")), "e00708000000070a000001", "e0070600070a000001"),
    ],
)
def test_what_is_said_in_hexadecimal_becomes_two_octets_for_an_old_peer(
    attribute: RawAttribute, wide: str, narrow: str
) -> None:
    assert packed(attribute, asn4=True) == bytes.fromhex(wide)
    assert packed(attribute, asn4=False).startswith(bytes.fromhex(narrow))


def test_a_path_with_a_confederation_segment_becomes_two_octets_for_an_old_peer() -> None:
    """RFC 6793 section 4.2.2: the AS4_PATH beside it has no confederation segment."""
    path = RawAttribute(0x40, 2, bytes.fromhex("0301000100ff" "02020002000000000007"))
    assert packed(path, asn4=True) == bytes.fromhex("400210" "0301000100ff" "02020002000000000007")
    narrow = bytes.fromhex("40020a" "03015ba0" "02025ba00007")
    assert packed(path, asn4=False) == narrow + bytes.fromhex("c0110a" "02020002000000000007")


def packed(attribute: RawAttribute, *, asn4: bool) -> bytes:
    """The attribute as it goes out in a session."""
    reactor = Reactor(LeanRIB)
    group = AnnounceGroup(
        family=Family.IPV4, next_hop="10.9.0.1", attributes=(attribute,), prefixes=(PREFIXES[0],)
    )
    reactor.run(next(announce_lines(["10.9.0.2"], [group])))
    (change,) = reactor.ribs[NAME].cached_changes()
    return bytes(change.attributes[attribute.code].pack(SimpleNamespace(asn4=asn4)))
