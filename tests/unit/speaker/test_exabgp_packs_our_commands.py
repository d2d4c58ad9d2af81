"""Our command lines through ExaBGP's own parser and packer: the octets that a peer gets."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calicopy.speaker import launcher

launcher.prepare_environment()  # before exabgp is loaded

from exabgp.bgp.message import Action, Update  # noqa: E402 - after the environment
from exabgp.reactor.api import API  # noqa: E402 - as above
from exabgp.reactor.api.command.limit import extract_neighbors, match_neighbors  # noqa: E402 - as above
from exabgp_negotiation import negotiate  # noqa: E402 - as above

from calicopy.bgp import RawAttribute  # noqa: E402 - as above
from calicopy.net import Family, Prefix  # noqa: E402 - as above
from calicopy.seam.speaker import AnnounceGroup, SessionSpec, WithdrawGroup  # noqa: E402 - as above
from calicopy.speaker.adj_out import parse_adj_rib_out  # noqa: E402 - as above
from calicopy.speaker.bulk import routes_of  # noqa: E402 - as above
from calicopy.speaker.commands import announce_lines, withdraw_lines  # noqa: E402 - as above

BOTH = (Family.IPV4, Family.IPV6)
SPEC = SessionSpec(
    name="n2", peer_address="10.9.0.2", local_address="10.9.0.1", local_as=64512, peer_as=64512, router_id="10.9.0.1",
    families=BOTH, add_path_send=BOTH, add_path_receive=BOTH,
)  # fmt: skip
NAME = "neighbor 10.9.0.2 local-ip 10.9.0.1 local-as 64512 peer-as 64512 router-id 10.9.0.1 family-allowed in-open"
ORIGIN, EMPTY_PATH = RawAttribute(0x40, 1, b"\0"), RawAttribute(0x40, 2, b"")
PREFERENCE = RawAttribute(0x40, 5, bytes(4))
LONG = b"\2\xff" + b"".join((65536 + i).to_bytes(4, "big") for i in range(255)) + b"\2\1\0\0\0\7"


def as_an_old_peer(directory: Path, *, add_path: bool = False, asn4: bool = True) -> Any:
    """A negotiation of the session with itself, but for what an old peer lacks."""
    negotiated = negotiate(SPEC, directory, add_path=add_path)
    negotiated.asn4 = asn4
    return negotiated


def changes_of(line: str) -> list[Any]:
    descriptions, command = extract_neighbors(line)
    assert match_neighbors([NAME, NAME.replace("10.9.0.2", "10.9.0.22")], descriptions) == [NAME]
    changes = routes_of(API(None), command)
    for change in changes:
        change.nlri.action = Action.ANNOUNCE if command.startswith("announce") else Action.WITHDRAW
    return changes


def body(line: str, negotiated: Any) -> bytes:
    changes = changes_of(line)
    (message,) = Update([change.nlri for change in changes], changes[0].attributes).messages(negotiated)
    return bytes(message[19:])


def on_the_wire(*attributes: RawAttribute) -> bytes:
    wire = b""
    for one in attributes:
        wide = len(one.value) > 255
        length = len(one.value).to_bytes(2 if wide else 1, "big")
        wire += bytes((one.flags | (0x10 if wide else 0), one.code)) + length + one.value
    return wire


def announced(*attributes: RawAttribute, path_id: int = 0, family: Family = Family.IPV4) -> str:
    prefixes = ("10.1.0.0/26",) if family is Family.IPV4 else ("fd01::/64",)
    next_hop = "10.9.0.1" if family is Family.IPV4 else "fd00::1"
    group = AnnounceGroup(
        family=family, next_hop=next_hop, path_id=path_id, attributes=attributes, prefixes=prefixes
    )
    (line,) = announce_lines(["10.9.0.9", "10.9.0.2"], [group])
    return line


def withdrawn(*, path_id: int = 0, family: Family = Family.IPV4) -> str:
    prefixes = ("10.1.0.0/26",) if family is Family.IPV4 else ("fd01::/64",)
    (line,) = withdraw_lines(["10.9.0.2"], [WithdrawGroup(family=family, path_id=path_id, prefixes=prefixes)])
    return line


@pytest.mark.parametrize(
    "attribute",
    [
        RawAttribute(0x40, 2, bytes.fromhex("0202000100000000fc00" "0102000000010000fc02" "02010000fc03")),
        RawAttribute(0x40, 2, bytes.fromhex("01020000000100000002")),
        RawAttribute(0x40, 2, bytes.fromhex("03010000fc01" "04010000fc02" "02010000fc00")),
        RawAttribute(0x40, 2, LONG),
        RawAttribute(0x80, 4, bytes.fromhex("ffffffff")),
        RawAttribute(0x40, 6, b""),
        RawAttribute(0xC0, 7, bytes.fromhex("000100010a090001")),
        RawAttribute(0xE0, 7, bytes.fromhex("000100010a090001")),
        RawAttribute(0xC0, 8, bytes.fromhex("ffff0000" "0001fc00" "0001fc00")),
        RawAttribute(0x80, 9, bytes.fromhex("0a090001")),
        RawAttribute(0x80, 10, bytes.fromhex("0a0000010a000002")),
        RawAttribute(0xC0, 16, bytes.fromhex("0002fc000000000143000000")),
        RawAttribute(0xC0, 25, bytes(20)),
        RawAttribute(0xC0, 32, bytes.fromhex("0000fc00000000010a0900010000fc00000000010a090001")),
        RawAttribute(0xC0, 35, bytes.fromhex("0000fc00")),
        RawAttribute(0xE0, 99, bytes(range(256)) + b"odd"),
        RawAttribute(0xE0, 254, b""),
    ],
    ids=lambda one: f"{one.code}-{one.flags:x}-{len(one.value)}",
)
def test_every_attribute_arrives_byte_for_byte(attribute: RawAttribute, tmp_path: Path) -> None:
    usual = [one for one in (ORIGIN, EMPTY_PATH, PREFERENCE) if one.code != attribute.code]
    wanted = sorted((*usual, attribute, RawAttribute(0x40, 3, bytes((10, 9, 0, 1)))), key=lambda one: one.code)
    given = [one for one in wanted if one.code != 3]
    attributes = on_the_wire(*wanted)
    expected = b"\0\0" + len(attributes).to_bytes(2, "big") + attributes + bytes.fromhex("1a0a010000")
    assert body(announced(*given), as_an_old_peer(tmp_path)) == expected


def test_an_old_peer_gets_two_octets_and_the_attributes_that_carry_the_rest(tmp_path: Path) -> None:
    path = RawAttribute(0x40, 2, bytes.fromhex("02020001000000000007" "0101000100ff"))
    aggregator = RawAttribute(0xC0, 7, bytes.fromhex("000100010a090001"))
    sent = body(announced(path, aggregator), as_an_old_peer(tmp_path, asn4=False))
    assert bytes.fromhex("4002 0a 0202 5ba0 0007 0101 5ba0") in sent
    assert bytes.fromhex("c011 10 0202 00010000 00000007 0101 000100ff") in sent
    assert bytes.fromhex("c007 06 5ba0 0a090001") in sent
    assert bytes.fromhex("c012 08 00010001 0a090001") in sent


@pytest.mark.parametrize("family", BOTH, ids=str)
def test_a_path_id_goes_out_where_it_was_negotiated_and_nowhere_else(family: Family, tmp_path: Path) -> None:
    prefix = bytes.fromhex("1a0a010000" if family is Family.IPV4 else "40fd01000000000000")
    line = announced(path_id=0x01020304, family=family)
    with_ids = body(line, as_an_old_peer(tmp_path, add_path=True))
    assert bytes.fromhex("01020304") + prefix in with_ids
    assert bytes.fromhex("01020304") not in body(line, as_an_old_peer(tmp_path))
    assert bytes(4) + prefix in body(announced(family=family), as_an_old_peer(tmp_path, add_path=True))


@pytest.mark.parametrize("path_id", [0, 5, 0xFFFFFFFF])
def test_a_withdrawal_names_the_path_id_of_its_announcement(path_id: int, tmp_path: Path) -> None:
    gone = WithdrawGroup(family=Family.IPV4, path_id=path_id, prefixes=("10.1.0.0/26",))
    (line,) = withdraw_lines(["10.9.0.2"], [gone])
    expected = b"\0\x09" + path_id.to_bytes(4, "big") + bytes.fromhex("1a0a010000" "0000")
    assert body(line, as_an_old_peer(tmp_path, add_path=True)) == expected
    (withdrawn,), (before,) = changes_of(line), changes_of(announced(path_id=path_id))
    assert withdrawn.index() == before.index()


def test_what_exabgp_lists_as_announced_is_read_with_its_path_ids() -> None:
    lines = [
        f"10.9.0.2 {family} unicast {change.nlri}"
        for family, path_id in ((Family.IPV4, 0), (Family.IPV4, 7), (Family.IPV6, 0xFFFFFFFF))
        for change in changes_of(announced(path_id=path_id, family=family))
    ]
    read = parse_adj_rib_out([*lines, "10.9.0.2 ipv4 unicast 10.0.0.0/8 path-information", "nonsense"])
    four, six = Prefix.parse("10.1.0.0/26").packed, Prefix.parse("fd01::/64").packed
    assert read == {"10.9.0.2": {Family.IPV4: ((0, four), (7, four)), Family.IPV6: ((0xFFFFFFFF, six),)}}


@pytest.mark.parametrize("family", BOTH, ids=str)
@pytest.mark.parametrize("path_id", [0, 7])
def test_the_routes_of_a_command_are_those_that_exabgp_reads(family: Family, path_id: int) -> None:
    first, others = ("10.1.0.0/26", ["10.1.0.64/26", "0.0.0.0/0", "10.9.0.1/32"])
    if family is Family.IPV6:
        first, others = ("fd01::/64", ["fd02::/32", "::/0", "fd01::1/128"])
    for line in (announced(path_id=path_id, family=family), withdrawn(path_id=path_id, family=family)):
        command = extract_neighbors(line.replace(first, " ".join((first, *others))))[1]
        ours, theirs = routes_of(API(None), command), API(None).api_attributes(command, [NAME])
        assert [one.index() for one in ours] == [one.index() for one in theirs]
        assert ours == theirs
        assert len(ours) == 1 + len(others)


@pytest.mark.parametrize("bad", ["10.1.0.1/26", "10.1.0.0/33", "10.1.0.0/-1", "10.1.0.0", "10.1/16", "fd01::/64", "x"])
def test_a_command_with_a_bad_prefix_has_no_routes(bad: str) -> None:
    command = extract_neighbors(announced())[1]
    with pytest.raises((ValueError, OSError)):
        routes_of(API(None), f"{command} {bad}")
