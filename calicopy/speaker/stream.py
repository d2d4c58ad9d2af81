"""The bridge's byte stream to events: no I/O, so that it is tested with plain bytes.

Theory of operation: `feed` takes bytes as they come and gives events, whole lines only. UPDATE lines, nearly all of the
traffic, are cut out by their marks without parsing JSON, and consecutive ones of a peer become one event. The rest is
parsed. A line that is not what we expect never raises: it becomes EventsLost, and so does a gap in ExaBGP's per-peer
counter (which starts at 1 again when a reload made the peer anew).
"""
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from calicopy.bgp import Notification
from calicopy.seam.speaker import (
    CommandResult,
    EventsLost,
    FsmState,
    NotificationSeen,
    PeerDown,
    PeerSnapshot,
    PeerState,
    PeerUp,
    RefreshReceived,
    SpeakerAttached,
    SpeakerEvent,
    UpdatesReceived,
)

PROTOCOL = 1
UPDATE_MARK = b'"type": "update"'
COUNTER_MARK = b'"counter": '
PEER_MARK = b'"peer": "'
BODY_MARK = b'"body": "0x'
HEAD_OCTETS = 700  # the marks before the body lie in the first octets of a line
NOTIFICATION, REFRESH, OPEN = 3, 5, 1
FSM_STATES = {
    "IDLE": FsmState.IDLE,
    "ACTIVE": FsmState.ACTIVE,
    "CONNECT": FsmState.CONNECT,
    "OPENSENT": FsmState.OPEN_SENT,
    "OPENCONFIRM": FsmState.OPEN_CONFIRM,
    "ESTABLISHED": FsmState.ESTABLISHED,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's end, with the lines that it printed."""

    ident: int
    result: CommandResult
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Another process holds the bridge."""

    pid: int


StreamItem: TypeAlias = SpeakerEvent | Answer | Refused
RESULTS = {"done": CommandResult.DONE, "error": CommandResult.ERROR}


class EventStream:
    """State of one connection to the bridge."""

    def __init__(self) -> None:
        self._partial = b""
        self._items: list[StreamItem] = []
        self._peer = ""
        self._bodies: list[bytes] = []
        self._counters: dict[str, int] = {}
        self._opens: dict[str, tuple[bytes, bytes]] = {}
        self._hello: dict[str, object] = {}
        self._snapshots: list[PeerSnapshot] = []
        self._output: dict[int, list[str]] = {}
        self.bridge_pid = 0

    def feed(self, data: bytes) -> list[StreamItem]:
        """Take bytes, give what they complete, in order."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            try:
                if UPDATE_MARK in line[:HEAD_OCTETS]:
                    self._update(line)
                elif line:
                    self._flush()
                    self._other(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._flush()
                self._items.append(EventsLost(None, f"unreadable line from the bridge ({type(error).__name__})"))
        self._flush()
        items, self._items = self._items, []
        return items

    def _flush(self) -> None:
        if self._bodies:
            self._items.append(UpdatesReceived(self._peer, tuple(self._bodies)))
            self._bodies = []

    def _update(self, line: bytes) -> None:
        at = line.index(PEER_MARK) + 9
        peer = line[at : line.index(b'"', at)].decode("ascii")
        at = line.index(COUNTER_MARK) + 11
        counter = int(line[at : line.index(b",", at)])
        at = line.rindex(BODY_MARK) + 11
        body = bytes.fromhex(line[at : line.index(b'"', at)].decode("ascii"))
        if not line.endswith(b"}"):
            raise ValueError("truncated line")
        if peer != self._peer:
            self._flush()
            self._peer = peer
        if counter != self._counters.get(peer, counter - 1) + 1:
            self._count(peer, counter)
        self._counters[peer] = counter
        self._bodies.append(body)

    def _count(self, peer: str, counter: int) -> None:
        before = self._counters.get(peer)
        self._counters[peer] = counter
        if before is not None and counter not in (before + 1, 1):
            self._flush()
            self._items.append(EventsLost(peer, f"event counter went from {before} to {counter}"))

    def _other(self, line: bytes) -> None:
        if line.startswith(b"{"):
            self._event(json.loads(line))
            return
        word, _, rest = line.decode("ascii").partition(" ")
        match word:
            case "#hello":
                self._hello = json.loads(rest)
                if self._hello["protocol"] != PROTOCOL:
                    raise ValueError(f"bridge speaks protocol {self._hello['protocol']}, expected {PROTOCOL}")
                self.bridge_pid = int(str(self._hello["bridge"]))
            case "#peer":
                self._snapshot(json.loads(rest))
            case "#ready":
                hello = self._hello
                peers = tuple(self._snapshots)
                pid = int(str(hello["exabgp"]))
                self._items.append(SpeakerAttached(str(hello["instance"]), pid, peers, str(hello["config"])))
            case "#lost":
                lost = json.loads(rest)
                self._counters.clear()
                self._items.append(EventsLost(None, f"{lost['lines']} lines dropped: {lost['reason']}"))
            case "#refused":
                self._items.append(Refused(int(json.loads(rest)["pid"])))
            case "#output":
                ident, _, text = rest.partition(" ")
                self._output.setdefault(int(ident), []).append(text)
            case "#answer":
                ident, _, result = rest.partition(" ")
                output = tuple(self._output.pop(int(ident), ()))
                self._items.append(Answer(int(ident), RESULTS.get(result, CommandResult.UNKNOWN), output))
            case _:
                raise ValueError("unknown kind of line")

    def _snapshot(self, known: dict[str, str]) -> None:
        peer = known["peer"]
        opens = [bytes.fromhex(known[side]) if side in known else None for side in ("local_open", "peer_open")]
        self._opens[peer] = (opens[0] or b"", opens[1] or b"")
        state = FSM_STATES[known["state"]]
        reason = in_words(known.get("reason", ""))
        self._snapshots.append(
            PeerSnapshot(peer=peer, state=state, reason=reason, local_open=opens[0], peer_open=opens[1])
        )

    def _event(self, event: dict[str, object]) -> None:
        neighbor = event.get("neighbor")
        if not isinstance(neighbor, dict):
            return  # ExaBGP's farewell to its helper
        peer = str(neighbor["address"]["peer"])
        counter = event["counter"]
        assert isinstance(counter, int)
        self._count(peer, counter)
        match event["type"]:
            case "state":
                self._state(peer, neighbor)
            case "fsm":
                self._items.append(PeerState(peer, FSM_STATES[neighbor["state"]]))
            case "open" | "notification" | "refresh" | "route-refresh":
                message = neighbor["message"]
                body = bytes.fromhex(message["body"][2:])
                self._message(peer, int(message["category"]), body, neighbor["direction"] == "send")
            case kind:
                raise ValueError(f"unknown type of event {kind!r}")

    def _state(self, peer: str, neighbor: dict[str, object]) -> None:
        if neighbor["state"] == "up":
            self._items.append(PeerUp(peer, *self._opens.get(peer, (b"", b""))))
        elif neighbor["state"] == "down":
            self._opens.pop(peer, None)
            self._items.append(PeerDown(peer, in_words(str(neighbor.get("reason", "")))))

    def _message(self, peer: str, category: int, body: bytes, sent: bool) -> None:
        if category == OPEN:
            local, remote = self._opens.get(peer, (b"", b""))
            self._opens[peer] = (body, remote) if sent else (local, body)
        elif category == NOTIFICATION:
            self._items.append(NotificationSeen(peer, sent, body))
        elif category == REFRESH and not sent:
            self._items.append(RefreshReceived(peer, body))


def in_words(reason: str) -> str:
    """ExaBGP's reason of a session that is down, so that an operator understands it: a NOTIFICATION's numbers as the
    sentence that they stand for, and its one word for all trouble with TCP. Other reasons stay as they are.
    """
    if reason == "closing connection":
        return "the TCP connection failed or was closed"
    if reason.endswith("closing without sending any notification"):  # where graceful restart was negotiated
        return "ended by this node, to begin it anew"
    found = re.fullmatch(r"notification (sent|received) \((\d+),(\d+)\)", reason)
    if found is None:
        return reason
    by = "us" if found[1] == "sent" else "the peer"
    return f"{Notification(int(found[2]), int(found[3])).sentence} (sent by {by})"
