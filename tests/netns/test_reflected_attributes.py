"""What a real reflector passes on, octet by octet, to raw peers: within its AS, to another AS, and with ADD-PATH."""
from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import labs
import pytest
import rawbgp
from rawbgp import Session, Space, as_path, attribute, body, packed

from calicopy.bgp import Capabilities, PathMode
from calicopy.bgp.encode import encode_attribute
from calicopy.net import Family, Prefix

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

RR = "192.0.2.1"
SENDER, CLIENT, MANY, EXTERNAL = (f"192.0.2.{number}" for number in (9, 10, 11, 12))
BLOCK, OTHER = "10.244.255.0/26", "10.244.255.64/26"
SENT = {  # code to (flags, value), besides ORIGIN, AS_PATH and NEXT_HOP
    4: (0x80, "0000004d"),
    5: (0x40, "00000096"),
    6: (0x40, ""),
    7: (0xE0, "0000fc00 0a000001"),  # the Partial bit is set already
    8: (0xC0, "00000009 00000003 00000009"),
    16: (0xC0, "0002fc0000000001 4002fc0000000002"),  # the second is not transitive
    32: (0xC0, "00000007 00000007 00000007"),
    99: (0xC0, "6869"),  # nobody knows it
    201: (0xC0, "61" * 300),
}
AS_PATH = bytes.fromhex("0202 0000fde8 0000fde9 0102 00000001 00000002")  # a sequence and a set
CLUSTER = f"""
nodes:
  - {{name: rr, address: {RR}/24, route_reflector: true, cluster_id: 10.9.9.9}}
pools:
  - {{cidr: 10.244.0.0/16}}
bgp:
  mesh: false
  hold_time_s: 9
  peers:
    - {{name: sender, address: {SENDER}, as: 64512, passive: true, route_reflector_client: true}}
    - {{name: client, address: {CLIENT}, as: 64512, passive: true, route_reflector_client: true}}
    - {{name: many, address: {MANY}, as: 64512, passive: true, route_reflector_client: true, add_path: true}}
    - {{name: external, address: {EXTERNAL}, as: 65012, passive: true, advertise: all}}
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    addresses = [f"ip address add {one}/24 dev eth1" for one in (SENDER, CLIENT, MANY, EXTERNAL)]
    topology = labs.one_ethernet(
        f"attr{os.getpid()}",
        {"rr": labs.node(f"{RR}/24"), "raw": labs.router(f"{SENDER}/24", "sleep infinity", exec=addresses)},
    )
    with (
        labs.running(tmp_path_factory.mktemp("lab"), topology, files={"cluster.yaml": CLUSTER}, mgmt=False) as lab,
        rawbgp.inside(lab, "raw") as made,
    ):
        yield made


@pytest.fixture(scope="module")
def sender(space: Space) -> Session:
    session = space.session(RR, source=SENDER, asn=64512)
    session.end_of_rib()
    return session


def strange() -> bytes:
    """An UPDATE of the sender with attributes of all kinds."""
    parts = {code: attribute(code, bytes.fromhex(text), flags=flags) for code, (flags, text) in SENT.items()}
    parts |= {1: attribute(1, b"\1"), 2: attribute(2, AS_PATH), 3: attribute(3, IPv4Address(SENDER).packed)}
    return body(b"".join(parts[code] for code in sorted(parts)), nlri=packed([BLOCK]))


def received(session: Session, prefix: str) -> dict[int, tuple[int, bytes]]:
    """Code to (flags without the length bit, value) of the last UPDATE with this prefix."""
    wanted = Prefix.parse(prefix).packed
    for raw in reversed(session.peer.bodies(rawbgp.UPDATE)):
        start = 2 + int.from_bytes(raw[:2], "big")
        stop = start + 2 + int.from_bytes(raw[start : start + 2], "big")
        if wanted in raw[stop:]:
            return dict(_attributes(raw[start + 2 : stop]))
    return {}


def _attributes(octets: bytes) -> Iterator[tuple[int, tuple[int, bytes]]]:
    while octets:
        head = 4 if octets[0] & 0x10 else 3
        size = int.from_bytes(octets[2:head], "big")
        yield octets[1], (octets[0] & ~0x10, octets[head : head + size])
        octets = octets[head + size :]


def heard(session: Session, prefix: str) -> dict[int, tuple[int, bytes]]:
    labs.wait_until(lambda: received(session, prefix), within=20, what=f"{prefix} is heard")
    return received(session, prefix)


def test_within_the_as_all_is_as_it_came_but_for_reflection_and_the_partial_bit(space: Space, sender: Session) -> None:
    client = space.session(RR, source=CLIENT, asn=64512)
    client.end_of_rib()
    sender.update(strange())
    expected = {code: (flags, bytes.fromhex(text)) for code, (flags, text) in SENT.items()}
    expected |= {
        1: (0x40, b"\1"),
        2: (0x40, AS_PATH),
        3: (0x40, IPv4Address(SENDER).packed),
        9: (0x80, IPv4Address(SENDER).packed),
        10: (0x80, IPv4Address("10.9.9.9").packed),
        99: (0xE0, b"hi"),
        201: (0xE0, b"a" * 300),
    }
    assert heard(client, BLOCK) == expected
    assert not received(sender, BLOCK)


def test_another_as_hears_our_as_first_and_nothing_internal(space: Space, sender: Session) -> None:
    external = space.session(RR, source=EXTERNAL, asn=65012)
    external.end_of_rib()
    sender.update(strange())
    expected = {code: (flags, bytes.fromhex(text)) for code, (flags, text) in SENT.items() if code not in (4, 5)}
    expected |= {
        1: (0x40, b"\1"),
        2: (0x40, bytes.fromhex("0203 0000fc00 0000fde8 0000fde9 0102 00000001 00000002")),
        3: (0x40, IPv4Address(RR).packed),
        16: (0xC0, bytes.fromhex("0002fc0000000001")),
        99: (0xE0, b"hi"),
        201: (0xE0, b"a" * 300),
    }
    assert heard(external, BLOCK) == expected


def test_with_add_path_two_ways_are_told_under_two_ids_and_go_one_by_one(space: Space, sender: Session) -> None:
    offer = rawbgp.capabilities(64512, add_path=((Family.IPV4, PathMode.BOTH),))
    assert isinstance(offer, Capabilities)
    many = space.session(RR, source=MANY, asn=64512, offer=offer)
    second = space.session(RR, source=CLIENT, asn=64512)
    for session in (many, second):
        session.end_of_rib()
    for session, source in ((sender, SENDER), (second, CLIENT)):
        next_hop = attribute(3, IPv4Address(source).packed)
        parts = attribute(1, b"\0") + as_path() + next_hop + encode_attribute(0x40, 5, (100).to_bytes(4, "big"))
        session.update(body(parts, nlri=packed([OTHER])))

    def hops() -> set[str]:
        wanted = Prefix.parse(OTHER).packed
        routes = many.peer.routes()
        return {str(update.announced[0].next_hop) for (_, prefix), update in routes.items() if prefix == wanted}

    labs.wait_until(lambda: hops() == {SENDER, CLIENT}, within=20, what="both ways are told")
    sender.update(body(withdrawn=packed([OTHER])))
    labs.wait_until(lambda: hops() == {CLIENT}, within=20, what="one way is left")
