"""A round of the sessions' engine, and the sockets that it sends from."""
from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from bfdlink import half

from calicopy.bfd.packet import INDEPENDENT, Packet, State, encode_header
from calicopy.bfd.process.engine import Engine
from calicopy.bfd.process.holds import Holds
from calicopy.bfd.process.settings import SessionSetting
from calicopy.bfd.process.sockets import FIRST_SOURCE_PORT, LAST_SOURCE_PORT, MULTI_PORT, connect
from calicopy.bfd.process.state import Slot, StateFile

NOW = 1000.0
PEERS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class CountedHolds(Holds):
    """How often the kernel was asked."""

    applied = 0

    def apply(self, now: float) -> None:
        self.applied += 1
        super().apply(now)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    file = StateFile(str(tmp_path / "bfd.state"))
    engine = Engine(file, random=half, now=NOW)
    yield engine
    for runner in engine.runners.values():
        runner.close()
    file.close()


def setting(peer: str, **changed: bool) -> SessionSetting:
    return SessionSetting(peer, "127.0.0.1", next_hops=(peer,), **changed)


def advance(engine: Engine, now: float) -> None:
    """A round in which all was read."""
    engine.advance(now, now)


def said(engine: Engine, peer: str, state: State, now: float) -> None:
    """The peer says that it is in this state."""
    runner = engine.runners[peer]
    octets = encode_header(Packet(
        state=state, flags=INDEPENDENT, diagnostic=0, detect_mult=3, my_discriminator=9,
        your_discriminator=runner.session.local_discriminator, desired_min_tx_us=100_000, required_min_rx_us=100_000,
    ))
    runner.receive(octets, 255, multihop=True, now=now)


def all_up(engine: Engine) -> None:
    engine.use_sessions({peer: setting(peer) for peer in PEERS}, NOW)
    for peer in PEERS:
        said(engine, peer, State.DOWN, NOW)
        said(engine, peer, State.INIT, NOW)
    advance(engine, NOW + 0.01)
    assert [runner.session.state for runner in engine.runners.values()] == [State.UP] * len(PEERS)


def test_sessions_that_fall_in_the_same_round_are_taken_out_of_use_in_one_go(engine: Engine) -> None:
    engine.holds = holds = CountedHolds()
    all_up(engine)
    before = holds.applied
    advance(engine, NOW + 0.4)
    assert all(runner.session.state is State.DOWN and runner.holding() for runner in engine.runners.values())
    assert holds.applied == before + 1


def test_after_standing_still_the_peers_have_an_interval_to_be_heard(engine: Engine) -> None:
    all_up(engine)
    engine.awake(NOW + 5.0, since=NOW + 0.29)
    said(engine, PEERS[0], State.UP, NOW + 5.05)
    advance(engine, NOW + 5.09)
    assert [runner.session.state for runner in engine.runners.values()] == [State.UP] * len(PEERS)
    advance(engine, NOW + 5.11)
    assert [runner.session.state for runner in engine.runners.values()] == [State.UP, State.DOWN, State.DOWN]


def test_standing_still_does_not_excuse_who_was_silent_for_the_detection_time_before(engine: Engine) -> None:
    all_up(engine)
    engine.awake(NOW + 5.0, since=NOW + 0.31)
    advance(engine, NOW + 5.0)
    assert all(runner.session.state is State.DOWN for runner in engine.runners.values())


def test_what_is_not_read_yet_holds_up_detection_and_no_packet_of_ours(engine: Engine) -> None:
    all_up(engine)
    sessions = [runner.session for runner in engine.runners.values()]
    before = [session.sent for session in sessions]
    for beat in range(1, 41):
        engine.advance(NOW + 0.01 + beat * 0.025, NOW + 0.02)
    assert [session.state for session in sessions] == [State.UP] * len(PEERS)
    # 1 s of packets every 87.5 ms, in steps of 25 ms.
    assert [session.sent - count for session, count in zip(sessions, before, strict=True)] == [10] * len(PEERS)
    advance(engine, NOW + 1.02)
    assert [session.state for session in sessions] == [State.DOWN] * len(PEERS)


def test_no_room_for_one_more_session_costs_that_session_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.holds = holds = CountedHolds()
    slots = [engine._state.new_slot()]

    def new_slot(_: StateFile) -> Slot:
        if not slots:
            raise OSError(errno.ENOSPC, "No space left on device")
        return slots.pop()

    monkeypatch.setattr(StateFile, "new_slot", new_slot)
    with pytest.raises(OSError, match="No space"):
        engine.use_sessions({peer: setting(peer) for peer in PEERS}, NOW)
    assert [runner.setting.peer for runner in engine._by_address.values()] == [PEERS[0]]
    assert holds.applied == 1


def test_a_session_that_is_held_down_on_purpose_is_no_failure(engine: Engine) -> None:
    all_up(engine)
    engine.use_sessions({peer: setting(peer, admin_down=peer == PEERS[0]) for peer in PEERS}, NOW + 0.02)
    first = engine.runners[PEERS[0]]
    assert (first.session.state, first.session.downs, first.holding()) == (State.ADMIN_DOWN, 0, False)
    assert engine.runners[PEERS[1]].session.state is State.UP


def test_the_end_of_a_session_is_said_more_than_once(engine: Engine) -> None:
    all_up(engine)
    session = engine.runners[PEERS[0]].session
    sent = session.sent
    engine.use_sessions({}, NOW + 0.02)
    assert (session.state, session.sent) == (State.ADMIN_DOWN, sent + 3)
    assert [*engine.news()] == [f"gone {peer}\n" for peer in PEERS]


def test_other_intervals_and_another_path_do_not_end_a_session_that_is_up(engine: Engine) -> None:
    all_up(engine)
    discriminator = engine.runners[PEERS[0]].session.local_discriminator
    engine.use_sessions({
        PEERS[0]: SessionSetting(PEERS[0], "127.0.0.9", tx_us=300_000, rx_us=50_000, detect_mult=5),
    }, NOW + 0.02)
    assert [*engine.runners] == [PEERS[0]]
    session = engine.runners[PEERS[0]].session
    assert (session.state, session.local_discriminator, session.timers.polling) == (State.UP, discriminator, True)
    assert (session.tx_interval_us(), session.detection_time_us()) == (100_000, 300_000)  # until the poll is answered


def test_a_packet_that_could_not_be_sent_does_not_hold_up_the_next(engine: Engine) -> None:
    engine.use_sessions({PEERS[0]: setting(PEERS[0])}, NOW)
    runner = engine.runners[PEERS[0]]
    runner.setting.local = "203.0.113.9"
    runner.send(b"x")
    assert "cannot send" in runner.problem
    runner.setting.local = "127.0.0.1"
    runner.send(b"x")
    assert (runner.problem, runner.send_failures) == ("", 1)


def test_the_source_port_is_the_same_as_long_as_the_discriminator_is() -> None:
    ports = []
    for _ in range(2):
        with connect("127.0.0.1", PEERS[0], port=MULTI_PORT, number=0xFFFF1234) as made:
            ports.append(made.getsockname()[1])
            with connect("127.0.0.1", PEERS[0], port=MULTI_PORT, number=0xFFFF1234) as other:
                ports.append(other.getsockname()[1])
    assert ports[:2] == ports[2:]
    assert ports[0] != ports[1]
    assert all(FIRST_SOURCE_PORT <= port <= LAST_SOURCE_PORT for port in ports)
