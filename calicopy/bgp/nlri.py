"""NLRI fields: runs of prefixes in packed form (RFC 4271 section 4.3, RFC 7911 section 3).

Theory of operation: this is the hot path. A full UPDATE holds some 800 prefixes, nearly always of few lengths, so the walk
goes run by run: one strided slice over the length octets tells how many prefixes of the same length follow, and the run is
then cut in one comprehension. Host bits are tested, and cleared where set, for the whole run by `bytes.translate`. The result
is canonical `Packed`. Any octet that does not fit fails the whole field: RFC 7606 section 5.3 wants a session reset for that.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence

from calicopy.bgp.verdict import FaultKind
from calicopy.net import Family, Packed

_PATH_ID_OCTETS = 4
_FIRST_WINDOW = 32
_CLEAR = [bytes(octet & (0xFF << (8 - bits)) & 0xFF if bits else octet for octet in range(256)) for bits in range(8)]
"""Per number of network bits in the last octet: the translation that clears its host bits."""
_CLEAN = [bytes(octet for octet in range(256) if table[octet] == octet) for table in _CLEAR]
"""Per number of network bits in the last octet: the octets that have no host bit set."""


class NlriError(ValueError):
    """A field that is no list of prefixes; `kind` tells which rule it breaks, the message where."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def decode_nlri(data: bytes, family: Family, *, add_path: bool = False) -> tuple[list[Packed], list[int] | None]:
    """An NLRI field to (prefixes, path ids); path ids are None unless `add_path`. NlriError when a prefix does not fit."""
    prefixes: list[Packed] = []
    path_ids: list[int] | None = [] if add_path else None
    lead = _PATH_ID_OCTETS if add_path else 0
    position, end, window = 0, len(data), _FIRST_WINDOW
    while position < end:
        length, stride = _entry(data, position, family=family, lead=lead)
        # the window grows with long runs and stays small in mixed ones, so that looking ahead stays linear
        ahead = min((end - position) // stride, window)
        stop = position + ahead * stride
        lengths = data[position + lead : stop : stride]
        count = ahead - len(lengths.lstrip(data[position + lead : position + lead + 1]))
        window = window * 8 if count == ahead else _FIRST_WINDOW
        stop = position + count * stride
        run = data[position:stop]
        if length & 7:
            run = _without_host_bits(run, length=length, stride=stride)
        if path_ids is None:
            prefixes += [run[at : at + stride] for at in range(0, len(run), stride)]
        else:
            for path_id, prefix in struct.iter_unpack(f">I{stride - lead}s", run):
                path_ids.append(path_id)
                prefixes.append(prefix)
        position = stop
    return prefixes, path_ids


def _entry(data: bytes, position: int, *, family: Family, lead: int) -> tuple[int, int]:
    """The prefix length and the octets of the entry at `position`, checked."""
    if position + lead >= len(data):
        raise NlriError(FaultKind.NLRI_TRUNCATED, f"the field ends within the path id at octet {position}")
    length = data[position + lead]
    if length > family.bits:
        raise NlriError(FaultKind.NLRI_LENGTH, f"prefix length {length} at octet {position + lead} is over {family.bits} for {family}")
    stride = lead + 1 + (length + 7) // 8
    if position + stride > len(data):
        missing = position + stride - len(data)
        raise NlriError(FaultKind.NLRI_TRUNCATED, f"the /{length} prefix at octet {position + lead} lacks {missing} octets")
    return length, stride


def _without_host_bits(run: bytes, *, length: int, stride: int) -> bytes:
    """The run with the bits after `length` cleared; the same object when none was set (they are irrelevant, RFC 4271 section 4.3)."""
    last = run[stride - 1 :: stride]
    bits = length & 7
    if not last.translate(None, _CLEAN[bits]):
        return run
    cleaned = bytearray(run)
    cleaned[stride - 1 :: stride] = last.translate(_CLEAR[bits])
    return bytes(cleaned)


def encode_nlri(prefixes: Sequence[Packed], path_ids: Sequence[int] | None = None) -> bytes:
    """Packed prefixes to an NLRI field, each behind its path id where they are given (as many as prefixes, else ValueError)."""
    if path_ids is None:
        return b"".join(prefixes)
    return b"".join(
        struct.pack(">I", path_id) + prefix for path_id, prefix in zip(path_ids, prefixes, strict=True)
    )
