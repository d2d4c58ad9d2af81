"""NLRI fields: runs of prefixes in packed form (RFC 4271 section 4.3, RFC 7911 section 3).

Theory of operation: this is the hot path. A full UPDATE holds some 800 prefixes, nearly always of few lengths, so the
walk goes run by run: one strided slice over the length octets tells how many prefixes of the same length follow, and
a long run is then cut by one `struct` that was made for its number of entries (a sender's full UPDATEs have few
different ones), at 25 ns a prefix. Host bits are tested, and cleared where set, for the whole run by `translate`.
Where lengths are mixed, looking for runs would cost more than it saves, so a stretch is read one by one before the next
try. The result is canonical `Packed`. Any octet that does not fit fails the whole field: RFC 7606 section 5.3 wants a
session reset for that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from calicopy.bgp.verdict import FaultKind
from calicopy.net import Family, Packed

_PATH_ID_OCTETS = 4
_WINDOW = 64
"""How many entries the first look ahead spans; it grows while the run goes on."""
_SHORT_RUN = 8
"""A run of fewer entries than this costs more to find than to read one by one."""
_LONG_RUN = 64
"""From so many entries on a run is cut by a struct of its own."""
_CUTTERS = 64
"""How many of these are kept: of 800 entries each takes 26 kB."""
_SINGLES = 64
"""How many entries are read one by one after a short run."""
_CLEAR = [bytes(octet & (0xFF << (8 - bits)) & 0xFF if bits else octet for octet in range(256)) for bits in range(8)]
"""Per number of network bits in the last octet: the translation that clears its host bits."""
_CLEAN = [bytes(octet for octet in range(256) if table[octet] == octet) for table in _CLEAR]
"""Per number of network bits in the last octet: the octets that have no host bit set."""

_HOST_BITS = [0xFF >> bits for bits in range(8)]


class NlriError(ValueError):
    """A field that is no list of prefixes; `kind` tells which rule it breaks, the message where."""

    def __init__(self, kind: FaultKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def decode_nlri(data: bytes, family: Family, *, add_path: bool = False) -> tuple[list[Packed], list[int] | None]:
    """An NLRI field to (prefixes, path ids or None without `add_path`). NlriError when a prefix does not fit."""
    field = _Field(data, family, add_path=add_path)
    position, end, window = 0, len(data), _WINDOW
    while position < end:
        before = position
        position, stride, whole = field.take_run(position, window)
        if whole:
            window *= 8
            continue
        window = _WINDOW
        if position - before < _SHORT_RUN * stride:
            position = field.take_singles(position, _SINGLES)
    return field.prefixes, field.path_ids


class _Field:
    """One NLRI field and what has been read of it."""

    __slots__ = ("_data", "_family", "_lead", "path_ids", "prefixes")

    def __init__(self, data: bytes, family: Family, *, add_path: bool) -> None:
        self._data = data
        self._family = family
        self._lead = _PATH_ID_OCTETS if add_path else 0
        self.prefixes: list[Packed] = []
        self.path_ids: list[int] | None = [] if add_path else None

    def take_run(self, position: int, window: int) -> tuple[int, int, bool]:
        """Read the entries at `position` that have the same length, `window` at most.

        Returns (position after them, octets per entry, whether they filled the window).
        """
        data, lead = self._data, self._lead
        length, stride = self._entry(position)
        ahead = min((len(data) - position) // stride, window)
        first = position + lead
        lengths = data[first : position + ahead * stride : stride]
        count = ahead - len(lengths.lstrip(data[first : first + 1]))
        stop = position + count * stride
        run = data[position:stop]
        if length & 7:
            run = _without_host_bits(run, bits=length & 7, stride=stride)
        if self.path_ids is None:
            if count >= _LONG_RUN:
                self.prefixes += _cutter(stride, count).unpack(run)
            else:
                self.prefixes += [run[at : at + stride] for at in range(0, len(run), stride)]
        else:
            self.path_ids += [path_id for (path_id,) in struct.iter_unpack(f">I{stride - lead}x", run)]
            self.prefixes += [run[at + lead : at + stride] for at in range(0, len(run), stride)]
        return stop, stride, count == window

    def take_singles(self, position: int, count: int) -> int:
        """Read up to `count` entries at `position`, whatever their lengths; the position after them."""
        data, lead, end, most = self._data, self._lead, len(self._data), self._family.bits
        append, path_ids = self.prefixes.append, self.path_ids
        for _ in range(count):
            if position >= end:
                break
            start = position + lead
            length = data[start] if start < end else 256
            stop = start + 1 + (length + 7) // 8
            if length > most or stop > end:
                self._entry(position)  # raises: it knows what to say
            prefix = data[start:stop]
            if length & 7 and prefix[-1] & _HOST_BITS[length & 7]:
                prefix = _without_host_bits(prefix, bits=length & 7, stride=len(prefix))
            append(prefix)
            if path_ids is not None:
                path_ids.append(int.from_bytes(data[position:start], "big"))
            position = stop
        return position

    def _entry(self, position: int) -> tuple[int, int]:
        """The prefix length and the octets of the entry at `position`, checked."""
        data, lead, family = self._data, self._lead, self._family
        at = position + lead
        if at >= len(data):
            raise NlriError(FaultKind.NLRI_TRUNCATED, f"the field ends within the path id at octet {position}")
        length = data[at]
        if length > family.bits:
            text = f"prefix length {length} at octet {at} is over {family.bits} for {family}"
            raise NlriError(FaultKind.NLRI_LENGTH, text)
        stride = lead + 1 + (length + 7) // 8
        missing = position + stride - len(data)
        if missing > 0:
            raise NlriError(FaultKind.NLRI_TRUNCATED, f"the /{length} prefix at octet {at} lacks {missing} octets")
        return length, stride


@lru_cache(_CUTTERS)
def _cutter(stride: int, count: int) -> struct.Struct:
    """What cuts `count` entries of `stride` octets each."""
    return struct.Struct(f"{stride}s" * count)


def _without_host_bits(run: bytes, *, bits: int, stride: int) -> bytes:
    """The run with only `bits` of each prefix's last octet kept; the same object when no other was set.

    Bits after the prefix length are irrelevant (RFC 4271 section 4.3).
    """
    last = run[stride - 1 :: stride]
    if not last.translate(None, _CLEAN[bits]):
        return run
    cleaned = bytearray(run)
    cleaned[stride - 1 :: stride] = last.translate(_CLEAR[bits])
    return bytes(cleaned)


def encode_nlri(prefixes: Sequence[Packed], path_ids: Sequence[int] | None = None) -> bytes:
    """Packed prefixes to an NLRI field, each behind its path id where they are given (as many as prefixes, else
    ValueError).
    """
    if path_ids is None:
        return b"".join(prefixes)
    return b"".join(struct.pack(">I", path_id) + prefix for path_id, prefix in zip(path_ids, prefixes, strict=True))
