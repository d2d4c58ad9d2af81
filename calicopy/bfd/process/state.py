"""`bfd.state`: what a session is, kept where a killed process leaves it, and the next one goes on from.

Theory of operation: a file that is mapped into memory, with a slot of 512 octets for each session. What each packet
changes (`calicopy.bfd.session.HOT`) and what changes seldom (`SAVED`, and `_OWN` of ours) is there twice: the one that
is not in force is written, then one octet says that it is, so a process that is killed in between leaves what was
before. The file is of one boot, since the times in it are those of a clock that starts with it.
"""
from __future__ import annotations

import fcntl
import mmap
import os
import struct

from calicopy.bfd.packet import Refusal
from calicopy.bfd.process.settings import MULTI, SINGLE, StateLine
from calicopy.bfd.session import HOT, SAVED

_OWN = struct.Struct("=?Q")  # multihop; the highest `downs` that the agent has acknowledged
_MAGIC = struct.Struct("=8sHHHH36s")
_HEADER_SIZE, SLOT_SIZE = 512, 512
_FIRST_SLOTS = 256
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_PEER_AT, _PEER_SIZE = 4, 60
_HOT_AT, _HOT_SIZE = 64, 48
_SAVED_AT, _SAVED_SIZE = 160, 112
_DROPPED_AT = 384
_DROPPED = struct.Struct(f"={len(Refusal)}I")
LABELS = tuple(reason.label for reason in Refusal)
assert HOT.size <= _HOT_SIZE
assert SAVED.size + _OWN.size <= _SAVED_SIZE
assert _DROPPED_AT + _DROPPED.size <= SLOT_SIZE


class StateError(Exception):
    """The file is not to be used; the message says why."""


class Kept:
    """What a slot says of its session. `hot` and `saved` are octets of `calicopy.bfd.session`."""

    __slots__ = ("acknowledged", "dropped", "hot", "multihop", "saved")

    def __init__(self, *, hot: bytes, saved: bytes, multihop: bool, acknowledged: int, dropped: list[int]) -> None:
        self.hot = hot
        self.saved = saved
        self.multihop = multihop
        self.acknowledged = acknowledged
        self.dropped = dropped


class Slot:
    """The place of one session. Writing costs about a microsecond."""

    __slots__ = ("at", "file", "hot", "saved")

    def __init__(self, file: StateFile, at: int) -> None:
        self.file = file
        self.at = at
        self.hot = file.map[at + 1]
        self.saved = file.map[at + 2]

    def write_hot(self, hot: bytes) -> None:
        """What `Session.save_hot` gives."""
        place, at = self.file.map, self.at
        self.hot = other = 1 - self.hot
        start = at + _HOT_AT + _HOT_SIZE * other
        place[start : start + len(hot)] = hot
        place[at + 1] = other

    def write(self, saved: bytes, *, multihop: bool, acknowledged: int, dropped: list[int]) -> None:
        """What `Session.save` gives, and what is ours."""
        place, at = self.file.map, self.at
        self.saved = other = 1 - self.saved
        start = at + _SAVED_AT + _SAVED_SIZE * other
        octets = saved + _OWN.pack(multihop, acknowledged)
        place[start : start + len(octets)] = octets
        place[at + 2] = other
        _DROPPED.pack_into(place, at + _DROPPED_AT, *[count & 0xFFFFFFFF for count in dropped])

    def take(self, peer: str) -> None:
        """It is this peer's, once both parts are written."""
        name = peer.encode()[: _PEER_SIZE - 1]
        place = self.at + _PEER_AT
        self.file.map[place : place + 1 + len(name)] = bytes((len(name),)) + name
        self.file.map[self.at] = 1

    def free(self) -> None:
        """It is nobody's any more."""
        self.file.map[self.at] = 0


class StateFile:
    """The process's end of the file, which it alone may write: BlockingIOError when another has it. OSError."""

    __slots__ = ("_descriptor", "_free", "map", "slots")

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            header = _header()
            if os.pread(self._descriptor, len(header), 0) != header:
                os.ftruncate(self._descriptor, 0)
                self._reserve(_HEADER_SIZE + _FIRST_SLOTS * SLOT_SIZE)
                os.pwrite(self._descriptor, header, 0)
            self._map()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._free = [at for at in self._places() if not self.map[at]]
        self._free.reverse()

    def _reserve(self, size: int) -> None:
        """Have the file so long, all of it on its device: where that is full, writing to the map would kill us."""
        os.posix_fallocate(self._descriptor, 0, size)

    def _map(self) -> None:
        size = os.fstat(self._descriptor).st_size
        self.map = mmap.mmap(self._descriptor, size)
        self.slots = (size - _HEADER_SIZE) // SLOT_SIZE

    def _places(self) -> range:
        return range(_HEADER_SIZE, _HEADER_SIZE + self.slots * SLOT_SIZE, SLOT_SIZE)

    def found(self) -> dict[str, tuple[Slot, Kept]]:
        """What an earlier process left, by peer."""
        return {peer: (Slot(self, at), kept) for at, peer, kept in _kept(self.map, self._places())}

    def new_slot(self) -> Slot:
        """A free place, to be written and taken. OSError when the file cannot grow."""
        if not self._free:
            more = range(self._places().stop, self._places().stop + self.slots * SLOT_SIZE, SLOT_SIZE)
            self._reserve(more.stop)
            self._map()
            self._free = [*reversed(more)]
        return Slot(self, self._free.pop())

    def give_back(self, slot: Slot) -> None:
        """Free a place for another session."""
        slot.free()
        self._free.append(slot.at)

    def close(self) -> None:
        """Let another process have the file."""
        self.map.close()
        os.close(self._descriptor)


def read_states(path: str) -> dict[str, StateLine]:
    """What the file says, for a reader while the process is not there, by peer. OSError, StateError."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to load
        data = file.read()
    header = _header()
    if data[: len(header)] != header:
        raise StateError("it is of an earlier boot or another version")
    slots = (len(data) - _HEADER_SIZE) // SLOT_SIZE
    places = range(_HEADER_SIZE, _HEADER_SIZE + slots * SLOT_SIZE, SLOT_SIZE)
    return {peer: _state_line(peer, kept) for _, peer, kept in _kept(data, places)}


def _kept(data: bytes | mmap.mmap, places: range) -> list[tuple[int, str, Kept]]:
    found = []
    for at in places:
        if not data[at]:
            continue
        hot = at + _HOT_AT + _HOT_SIZE * (data[at + 1] & 1)
        saved = at + _SAVED_AT + _SAVED_SIZE * (data[at + 2] & 1)
        size = data[at + _PEER_AT]
        peer = data[at + _PEER_AT + 1 : at + _PEER_AT + 1 + size].decode("ascii", "replace")
        multihop, acknowledged = _OWN.unpack_from(data, saved + SAVED.size)
        kept = Kept(
            hot=data[hot : hot + HOT.size], saved=data[saved : saved + SAVED.size], multihop=multihop,
            acknowledged=acknowledged, dropped=[*_DROPPED.unpack_from(data, at + _DROPPED_AT)],
        )  # fmt: skip
        found.append((at, peer, kept))
    return found


def _state_line(peer: str, kept: Kept) -> StateLine:
    line = StateLine(peer, MULTI if kept.multihop else SINGLE)
    _, line.sent, line.received, *_ = HOT.unpack(kept.hot)
    (
        line.local_discriminator, line.remote_discriminator, line.state, line.diagnostic, line.remote_state,
        line.remote_diagnostic, line.remote_independent, line.changed_at, line.ups, line.downs, _, _, _, _, _, used_tx,
        used_rx, line.remote_detect_mult, remote_tx, remote_rx, _,
    ) = SAVED.unpack(kept.saved)  # fmt: skip
    line.remote_independent = bool(line.remote_independent)  # a struct has it as a number
    line.heard = line.remote_discriminator != 0
    line.holding = line.downs > kept.acknowledged
    line.tx_interval_us = max(used_tx, remote_rx) if remote_rx else 0
    line.detection_time_us = line.remote_detect_mult * max(used_rx, remote_tx)
    line.dropped = named(kept.dropped)
    return line


def named(dropped: list[int]) -> dict[str, int]:
    """Counts that are not 0, by the name of the reason."""
    return {label: count for label, count in zip(LABELS, dropped, strict=True) if count}


def _header() -> bytes:
    with open(_BOOT_ID, "rb") as file:  # noqa: PTH123 - as above
        boot_id = file.read().strip()
    return _MAGIC.pack(b"calibfd1", SLOT_SIZE, HOT.size, SAVED.size, len(Refusal), boot_id)
