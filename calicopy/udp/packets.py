"""What is read of IP headers (RFC 791, RFC 8200), and ECN (RFC 6040). Pure."""
from __future__ import annotations

import struct

IPV4_HEAD = struct.Struct(">BBH12x4s")
"""Version and header length, TOS, total length, destination."""
IPV6_HEAD = struct.Struct(">HxxH18x16s")
"""Version and the first four bits of the traffic class and so on, payload length, destination."""
IPV4_LEAST, IPV6_LEAST = 20, 40
ECN_MASK, CE = 0x03, 0x03

Head = tuple[int, int, bytes]
"""Length of the packet in octets, TOS or traffic class, destination (4 or 16 octets)."""


def read_head(packet: memoryview, size: int) -> Head | None:
    """What decides how a packet of `size` octets leaves; None when it is no whole IP packet."""
    if size >= IPV4_LEAST:
        version = packet[0] >> 4
        if version == 4:
            first, tos, total, destination = IPV4_HEAD.unpack_from(packet)
            return (size, tos, destination) if total == size and first & 0x0F >= 5 else None
        if version == 6 and size >= IPV6_LEAST:
            first, payload, destination = IPV6_HEAD.unpack_from(packet)
            return (size, first >> 4 & 0xFF, destination) if payload + IPV6_LEAST == size else None
    return None


def is_multicast(destination: bytes) -> bool:
    """Whether no single node can be behind it: multicast and broadcast (RFC 1112, RFC 4291 section 2.7)."""
    return destination[0] >= (224 if len(destination) == 4 else 255)


def mark_congestion(packet: memoryview) -> bool:
    """Put the mark of the outer header (CE) into a whole packet (RFC 6040 section 4.2); False: it is to be dropped, as
    its ends do not know ECN."""
    if packet[0] >> 4 == 6:
        ecn = packet[1] >> 4 & ECN_MASK
        if ecn:
            packet[1] |= CE << 4
        return bool(ecn)
    ecn = packet[1] & ECN_MASK
    if ecn in (0, CE):
        return bool(ecn)
    # RFC 1624: HC' = ~(~HC + ~m + m'), where the word m grows by what the two bits lack.
    inverted = 0xFFFF - int.from_bytes(packet[10:12], "big") + (CE - ecn)
    packet[1] |= CE
    packet[10:12] = (0xFFFF - ((inverted & 0xFFFF) + (inverted >> 16))).to_bytes(2, "big")
    return True
