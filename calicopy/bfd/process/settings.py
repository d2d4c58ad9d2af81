"""What agent and BFD process tell each other: two files, and the lines of the control socket.

Theory of operation: the files are the agent's, each written whole beside its place and renamed into it
(`calicopy.unit.write_whole` does that). Their last line counts the lines before it, so that half of a file is
known as such, and the last good one stays in force. A line says one thing, since loading a module that reads more than
that would add to the time that a killed process takes to be back.

The control socket (unix, stream) takes and gives lines. To the process:

    poke                 the files changed
    ack PEER DOWNS       the agent has taken this Down as its own wish: what was taken out of use for it may go

From the process, first the whole set, ended by `end`, then each change at once (counters at most once a second):

    process PID REALTIME the process, and 1 when the kernel schedules it in real time
    problem TEXT         what is wrong with it, empty when nothing is
    drop NAME COUNT      packets that were dropped and belong to no session, by reason
    state ...            a session, see `StateLine`
    gone PEER            the session is no longer wanted
    end                  the set is whole
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping

SINGLE, MULTI, AUTO = "single", "multi", "auto"
_HOPS = (SINGLE, MULTI, AUTO)
SIMPLE, METICULOUS_SHA1 = "simple", "meticulous-sha1"
_AUTHS = (SIMPLE, METICULOUS_SHA1)
_MOST_US = 0xFFFFFFFF
POKE = "poke\n"
END = "end"


class SettingsError(ValueError):
    """The content is not what the other side writes; the message says which line."""


class SessionSetting:
    """One session, as `calicopy.seam.bfd.BfdSpec`. Intervals in microseconds; `auth_type` is empty without."""

    __slots__ = (
        "admin_down", "auth_key_file", "auth_key_id", "auth_type", "detect_mult", "hop", "local", "min_ttl",
        "next_hops", "peer", "rx_us", "tx_us",
    )  # fmt: skip

    def __init__(
        self,
        peer: str,
        local: str,
        *,
        hop: str = MULTI,
        min_ttl: int = 1,
        tx_us: int = 100_000,
        rx_us: int = 100_000,
        detect_mult: int = 3,
        auth_type: str = "",
        auth_key_id: int = 0,
        auth_key_file: str = "",
        admin_down: bool = False,
        next_hops: Iterable[str] = (),
    ) -> None:
        self.peer = peer
        self.local = local
        self.hop = hop
        self.min_ttl = min_ttl
        self.tx_us = tx_us
        self.rx_us = rx_us
        self.detect_mult = detect_mult
        self.auth_type = auth_type
        self.auth_key_id = auth_key_id
        self.auth_key_file = auth_key_file
        self.admin_down = admin_down
        self.next_hops = tuple(next_hops)

    def as_text(self) -> str:
        """Its lines in the file."""
        lines = [
            f"session {self.peer} {self.local} {self.hop} {self.min_ttl} {self.tx_us} {self.rx_us} {self.detect_mult}"
            f" {int(self.admin_down)}"
        ]
        if self.auth_type:
            lines.append(f"auth {self.auth_type} {self.auth_key_id} {self.auth_key_file}")
        if self.next_hops:
            lines.append(" ".join(("hops", *self.next_hops)))
        return "".join(f"{line}\n" for line in lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionSetting) and self.as_text() == other.as_text()

    def __hash__(self) -> int:
        return hash(self.as_text())

    def __repr__(self) -> str:
        return f"SessionSetting({self.as_text()!r})"


def format_sessions(sessions: Iterable[SessionSetting]) -> str:
    """The content of `bfd.sessions`."""
    return _closed("".join(one.as_text() for one in sessions))


def parse_sessions(text: str) -> dict[str, SessionSetting]:
    """The sessions by peer. SettingsError when it is not what `format_sessions` writes."""
    found: dict[str, SessionSetting] = {}
    last: SessionSetting | None = None
    for line in _opened(text):
        try:
            match line.split(" "):
                case ["session", peer, local, hop, min_ttl, tx, rx, mult, admin] if peer and local and hop in _HOPS:
                    last = found[peer] = SessionSetting(
                        peer, local, hop=hop, min_ttl=_number(min_ttl, 1, 255), tx_us=_number(tx, 1, _MOST_US),
                        rx_us=_number(rx, 0, _MOST_US), detect_mult=_number(mult, 1, 255),
                        admin_down=bool(_number(admin, 0, 1)),
                    )  # fmt: skip
                case ["auth", kind, key_id, *path] if last is not None and kind in _AUTHS and path:
                    last.auth_type, last.auth_key_id = kind, _number(key_id, 0, 255)
                    last.auth_key_file = " ".join(path)
                case ["hops", *addresses] if last is not None and addresses:
                    last.next_hops = tuple(addresses)
                case _:
                    raise ValueError
        except ValueError:
            raise SettingsError(f"line {line!r} is not the agent's") from None
    return found


class Table:
    """`calicopy.seam.bfd.BfdTable` with the protocol of our objects: ids to (4 or 6, next hop), groups to members."""

    __slots__ = ("groups", "objects", "protocol")

    def __init__(
        self,
        *,
        objects: Mapping[int, tuple[int, str]] | None = None,
        groups: Mapping[int, tuple[int, tuple[int, ...]]] | None = None,
        protocol: int = 117,
    ) -> None:
        self.objects = dict(objects or {})
        self.groups = dict(groups or {})
        self.protocol = protocol

    def as_text(self) -> str:
        """The content of `bfd.table`."""
        lines = [f"protocol {self.protocol}"]
        lines += [f"object {number} {family} {hop}" for number, (family, hop) in sorted(self.objects.items())]
        for number, (family, members) in sorted(self.groups.items()):
            lines.append(" ".join(map(str, ("group", number, family, *members))))
        return _closed("".join(f"{line}\n" for line in lines))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.as_text() == other.as_text()

    def __hash__(self) -> int:
        return hash(self.as_text())


def parse_table(text: str) -> Table:
    """The content of `bfd.table`. SettingsError when it is not what `Table.as_text` writes."""
    table = Table()
    for line in _opened(text):
        try:
            match line.split(" "):
                case ["object", number, family, hop] if family in ("4", "6") and hop:
                    table.objects[_number(number, 1, _MOST_US)] = (int(family), hop)
                case ["group", number, family, *members] if family in ("4", "6") and members:
                    ids = tuple(_number(one, 1, _MOST_US) for one in members)
                    table.groups[_number(number, 1, _MOST_US)] = (int(family), ids)
                case ["protocol", number]:
                    table.protocol = _number(number, 1, 255)
                case _:
                    raise ValueError
        except ValueError:
            raise SettingsError(f"line {line!r} is not the agent's") from None
    return table


class StateLine:
    """A session as the process has it: `calicopy.seam.bfd.BfdState`, field for field.

    States are the numbers of RFC 5880 section 4.1, `hop` is never auto, times are monotonic seconds.
    """

    FIELDS = (
        "peer", "state", "remote_state", "diagnostic", "remote_diagnostic", "local_discriminator",
        "remote_discriminator", "remote_independent", "hop", "ups", "downs", "heard", "changed_at", "tx_interval_us",
        "detection_time_us", "remote_detect_mult", "holding", "sent", "received",
    )  # fmt: skip
    __slots__ = (*FIELDS, "dropped")

    peer: str
    hop: str
    state: int
    remote_state: int
    diagnostic: int
    remote_diagnostic: int
    local_discriminator: int
    remote_discriminator: int
    remote_independent: bool
    ups: int
    downs: int
    heard: bool
    changed_at: float
    tx_interval_us: int
    detection_time_us: int
    remote_detect_mult: int
    holding: bool
    sent: int
    received: int
    dropped: dict[str, int]

    def __init__(self, peer: str, hop: str = MULTI) -> None:
        """A session of which nothing is known yet."""
        for name in self.FIELDS:
            setattr(self, name, 0)
        self.peer, self.hop, self.changed_at, self.dropped = peer, hop, 0.0, {}
        self.remote_independent = self.heard = self.holding = False

    def as_text(self) -> str:
        """The line, with its end."""
        words = [_word(getattr(self, name)) for name in self.FIELDS]
        words += [f"{name}={count}" for name, count in self.dropped.items() if count]
        return f"state {' '.join(words)}\n"


_FLAGS = frozenset({"remote_independent", "heard", "holding"})
_TEXTS = frozenset({"peer", "hop"})


def parse_state(line: str) -> StateLine:
    """A line that begins with `state `. SettingsError when it is not what `StateLine.as_text` writes."""
    words = line.split()
    fields = StateLine.FIELDS
    made = StateLine("")
    try:
        if words[0] != "state" or len(words) <= len(fields) or words[1 + fields.index("hop")] not in (SINGLE, MULTI):
            raise ValueError
        for name, word in zip(fields, words[1:], strict=False):
            if name in _FLAGS:
                setattr(made, name, bool(_number(word, 0, 1)))
            elif name == "changed_at":
                made.changed_at = float(word)
            else:
                setattr(made, name, word if name in _TEXTS else int(word))
        for word in words[1 + len(fields) :]:
            name, _, count = word.partition("=")
            made.dropped[name] = int(count)
    except (ValueError, IndexError):
        raise SettingsError(f"line {line!r} is not the process's") from None
    return made


def format_ack(peer: str, downs: int) -> str:
    """The line that acknowledges a Down."""
    return f"ack {peer} {downs}\n"


def _word(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _number(word: str, least: int, most: int) -> int:
    number = int(word)
    if not least <= number <= most:
        raise ValueError
    return number


def _closed(text: str) -> str:
    return f"{text}end {text.count(chr(10))}\n"


def _opened(text: str) -> list[str]:
    """The lines without the last one, which must count them."""
    *lines, last = text.splitlines() or [""]
    if not text.endswith("\n") or last != f"end {len(lines)}":
        raise SettingsError("it is not whole")
    return lines
