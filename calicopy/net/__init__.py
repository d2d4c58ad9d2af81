"""Addresses, prefixes and names that every other package speaks.

Theory of operation: a prefix travels in two forms. `Packed` is the NLRI form of RFC 4271 section 4.3 (a length octet,
then the fewest address octets that hold the length, host bits zero). It is plain bytes, canonical, hashable and cheap:
tables with 100,000 routes are keyed by it, one table per family. `Prefix` is the same with its family beside it, for
people: it parses, prints and compares. Nothing here does I/O.
"""
from __future__ import annotations

from calicopy.net.encapsulation import Decapsulation, Encapsulation, EncapsulationMode
from calicopy.net.family import Family
from calicopy.net.prefix import IPAddress, Packed, Prefix, PrefixError, format_packed, pack, unpack_network

__all__ = [
    "Decapsulation",
    "Encapsulation",
    "EncapsulationMode",
    "Family",
    "IPAddress",
    "Packed",
    "Prefix",
    "PrefixError",
    "format_packed",
    "pack",
    "unpack_network",
]
