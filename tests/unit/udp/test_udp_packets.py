"""What the forwarder reads of a packet, and the congestion mark it may have to put in."""
from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicopy.udp.packets import mark_congestion, read_head


def ipv4(*, tos: int = 0, payload: bytes = b"", total: int | None = None, first: int = 0x45) -> bytes:
    length = 20 + len(payload) if total is None else total
    return struct.pack(
        ">BBHHHBBH4s4s", first, tos, length, 7, 0x4000, 64, 17, 0, bytes((10, 1, 0, 2)), bytes((10, 2, 0, 2))
    ) + payload  # fmt: skip


def ipv6(*, traffic_class: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    word = 6 << 28 | traffic_class << 20 | 0x12345
    size = len(payload) if length is None else length
    return struct.pack(">IHBB", word, size, 17, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + payload


def head(packet: bytes) -> tuple[int, int, bytes] | None:
    return read_head(memoryview(bytearray(packet)), len(packet))


def checksum(header: bytes) -> int:
    """RFC 1071, of 20 octets."""
    total = sum(struct.unpack(">10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def with_checksum(packet: bytes) -> bytearray:
    made = bytearray(packet)
    made[10:12] = checksum(bytes(made[:20])).to_bytes(2, "big")
    return made


def test_size_tos_and_destination_are_read_of_both_versions() -> None:
    assert head(ipv4(tos=0xB9, payload=bytes(5))) == (25, 0xB9, bytes((10, 2, 0, 2)))
    assert head(ipv6(traffic_class=0xB9, payload=bytes(5))) == (45, 0xB9, bytes(15) + b"\2")


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ipv4()[:19], id="a part of a header"),
        pytest.param(ipv4(total=21), id="longer than it is"),
        pytest.param(ipv4(payload=b"x", total=20), id="shorter than it is"),
        pytest.param(ipv4(first=0x44), id="a header of four words"),
        pytest.param(ipv4(first=0x55), id="version 5"),
        pytest.param(ipv6()[:39], id="a part of an IPv6 header"),
        pytest.param(ipv6(length=1), id="longer IPv6 than it is"),
    ],
)
def test_what_is_no_whole_packet_has_no_head(packet: bytes) -> None:
    assert head(packet) is None


@given(st.integers(0, 255), st.integers(0, 0xFFFF))
def test_a_mark_leaves_a_checksum_that_is_right(tos: int, payload: int) -> None:
    packet = with_checksum(ipv4(tos=tos, payload=payload.to_bytes(2, "big")))
    marked = mark_congestion(memoryview(packet))
    assert marked == bool(tos & 3)
    assert packet[1] == (tos | 3 if marked else tos)
    assert checksum(bytes(packet[:20])) in (0, 0xFFFF)


@given(st.integers(0, 255))
def test_an_ipv6_packet_is_marked_in_its_traffic_class_alone(traffic_class: int) -> None:
    packet = bytearray(ipv6(traffic_class=traffic_class))
    marked = mark_congestion(memoryview(packet))
    assert marked == bool(traffic_class & 3)
    assert packet == ipv6(traffic_class=traffic_class | 3 if marked else traffic_class)
