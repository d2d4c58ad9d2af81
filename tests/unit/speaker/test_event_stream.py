"""The bridge's bytes to events, with good, broken and missing lines."""
from __future__ import annotations

import json

import pytest

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
    UpdatesReceived,
)
from calicopy.speaker.stream import Answer, EventStream, Refused, in_words

A, B = "10.0.0.2", "fd00::2"
HELLO = b'#hello {"protocol": 1, "instance": "7.42", "config": "cafe", "exabgp": 7, "bridge": 8}\n'


def line(kind: str, content: str, counter: int, peer: str = A) -> bytes:
    text = (
        f'{{ "exabgp": "5.0.0", "time": 1.5, "host" : "h", "pid" : 1, "ppid" : 1, "counter": {counter}, '
        f'"type": "{kind}", "neighbor": {{ "address": {{ "local": "10.0.0.1", "peer": "{peer}" }}, '
        f'"asn": {{ "local": 1, "peer": 1 }} , {content} }} }}\n'
    )
    return text.encode()


def packet(category: int, body: str, counter: int, peer: str = A, direction: str = "receive") -> bytes:
    kind = {1: "open", 2: "update", 3: "notification", 5: "route-refresh"}[category]
    message = f'"message": {{ "category": {category}, "header": "0xff", "body": "0x{body}" }} '
    return line(kind, f'"direction": "{direction}", {message}', counter, peer)


def test_attachment_carries_the_snapshot() -> None:
    known = {"peer": A, "state": "ESTABLISHED", "reason": "", "since": 1.0, "local_open": "aa", "peer_open": "bb"}
    data = HELLO + b"#peer " + json.dumps(known).encode() + b"\n#ready\n"
    snapshot = PeerSnapshot(peer=A, state=FsmState.ESTABLISHED, local_open=b"\xaa", peer_open=b"\xbb")
    assert EventStream().feed(data) == [SpeakerAttached("7.42", 7, (snapshot,), "cafe")]


def test_a_session_comes_up_with_both_opens_and_goes_down_with_its_reason() -> None:
    data = packet(1, "aa", 1, direction="send") + packet(1, "bb", 2) + line("fsm", '"state": "OPENCONFIRM"', 3)
    data += line("state", '"state": "up"', 4) + packet(3, "0602", 5)
    data += line("state", '"state": "down", "reason": "notification received (6,2)"', 6)
    assert EventStream().feed(data) == [
        PeerState(A, FsmState.OPEN_CONFIRM),
        PeerUp(A, b"\xaa", b"\xbb"),
        NotificationSeen(A, False, b"\x06\x02"),
        PeerDown(A, "cease: administrative shutdown (sent by the peer)"),
    ]


def test_consecutive_updates_of_a_peer_are_one_event_in_order() -> None:
    data = packet(2, "01", 1) + packet(2, "02", 2) + packet(2, "03", 1, B) + packet(2, "04", 3)
    data += packet(5, "00010101", 4) + packet(2, "05", 5)
    assert EventStream().feed(data) == [
        UpdatesReceived(A, (b"\x01", b"\x02")),
        UpdatesReceived(B, (b"\x03",)),
        UpdatesReceived(A, (b"\x04",)),
        RefreshReceived(A, b"\x00\x01\x01\x01"),
        UpdatesReceived(A, (b"\x05",)),
    ]


def test_lines_cut_anywhere_by_the_socket_are_put_together() -> None:
    data = packet(2, "0102", 1) + line("state", '"state": "up"', 2)
    stream, items = EventStream(), []
    for at in range(0, len(data), 7):
        items += stream.feed(data[at : at + 7])
    assert items == [UpdatesReceived(A, (b"\x01\x02",)), PeerUp(A, b"", b"")]


def test_a_gap_in_the_counter_is_a_loss_of_that_peer() -> None:
    items = EventStream().feed(packet(2, "01", 1) + packet(2, "02", 3) + packet(2, "03", 4))
    assert items == [
        UpdatesReceived(A, (b"\x01",)),
        EventsLost(A, "event counter went from 1 to 3"),
        UpdatesReceived(A, (b"\x02", b"\x03")),
    ]


def test_a_counter_that_starts_over_is_a_peer_made_anew_by_a_reload() -> None:
    assert EventStream().feed(packet(2, "01", 9) + packet(2, "02", 1)) == [UpdatesReceived(A, (b"\x01", b"\x02"))]


@pytest.mark.parametrize(
    "broken",
    [
        packet(2, "0102", 2)[:-20] + b"\n",
        packet(2, "010", 2),
        packet(2, "zz", 2),
        b'{ "exabgp": "5.0.0", "type": "state", "neigh\n',
        b"\xff\xfe\x00 not text\n",
        b"#bad { \xff\n",
        b'{ "type": "state", "neighbor": [], "counter": 1 }\n{ "type": 1, "neighbor": {} }\n',
        b'#answer x done\n',
        b'#hello {"protocol": 99}\n',
    ],
    ids=["truncated", "odd hex", "no hex", "cut JSON", "not UTF-8", "reported", "shape", "no number", "protocol"],
)
def test_a_broken_line_is_a_loss_and_the_next_line_is_read(broken: bytes) -> None:
    items = EventStream().feed(packet(2, "01", 1) + broken + packet(2, "03", 2))
    assert items[0] == UpdatesReceived(A, (b"\x01",))
    assert items[-1] == UpdatesReceived(A, (b"\x03",))
    assert [item for item in items if isinstance(item, EventsLost)]


def test_what_the_bridge_dropped_is_a_loss_of_all_peers_told_once() -> None:
    data = packet(2, "01", 1) + b'#lost {"lines": 40, "reason": "the agent did not read"}\n' + packet(2, "02", 42)
    assert EventStream().feed(data) == [
        UpdatesReceived(A, (b"\x01",)),
        EventsLost(None, "40 lines dropped: the agent did not read"),
        UpdatesReceived(A, (b"\x02",)),
    ]


def test_answers_come_with_their_output() -> None:
    data = b"#output 3 exabgp 5.0\n#answer 3 done\n#answer 4 error\n#answer 5 timeout\n"
    assert EventStream().feed(data) == [
        Answer(3, CommandResult.DONE, ("exabgp 5.0",)),
        Answer(4, CommandResult.ERROR, ()),
        Answer(5, CommandResult.UNKNOWN, ()),
    ]


def test_a_refusal_names_the_holder() -> None:
    assert EventStream().feed(b'#refused {"pid": 12}\n') == [Refused(12)]


def test_exabgps_farewell_is_no_event() -> None:
    farewell = b'{ "exabgp": "5.0.0", "time": 1, "type": "notification", "notification": "shutdown" }\n'
    assert EventStream().feed(farewell) == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("notification sent (4,0)", "hold timer expired (sent by us)"),
        ("notification received (6,2)", "cease: administrative shutdown (sent by the peer)"),
        ("closing connection", "the TCP connection failed or was closed"),
        (
            "graceful restarted negotiated, closing without sending any notification",
            "ended by this node, to begin it anew",
        ),
        ("process problem", "process problem"),
    ],
)
def test_the_reason_of_a_session_that_is_down_is_in_words(reason: str, words: str) -> None:
    assert in_words(reason) == words
