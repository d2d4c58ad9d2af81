"""Our classes inside ExaBGP: the registers that take them, and the same verdicts as ExaBGP's own."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicopy.speaker import launcher

launcher.prepare_environment()  # before exabgp is loaded

from exabgp.bgp.fsm import FSM  # noqa: E402 - as above
from exabgp.bgp.message import Message, Update  # noqa: E402 - after the environment
from exabgp.bgp.message.direction import Direction  # noqa: E402 - as above
from exabgp.bgp.message.notification import Notify  # noqa: E402 - as above
from exabgp.bgp.message.open.capability import Capabilities, Capability  # noqa: E402 - as above
from exabgp.bgp.message.update.attribute import Attribute  # noqa: E402 - as above
from exabgp.reactor.api.response import Response  # noqa: E402 - as above
from exabgp.reactor.api.response.json import JSON  # noqa: E402 - as above
from exabgp.reactor.peer import ACTION, Peer  # noqa: E402 - as above
from exabgp_negotiation import negotiate  # noqa: E402 - as above

from calicopy.net import Family  # noqa: E402 - as above
from calicopy.seam.speaker import SessionSpec  # noqa: E402 - as above
from calicopy.speaker.opaque import OpaqueUpdate, QuickJSON, check_nlri  # noqa: E402 - as above
from calicopy.speaker.peering import HonestCapabilities, RestartingPeer, ShortDelay  # noqa: E402 - as above

SPEC = SessionSpec(
    name="n2", peer_address="10.9.0.2", local_address="10.9.0.1", local_as=64512, peer_as=64512, router_id="10.9.0.1",
    families=(Family.IPV4, Family.IPV6),
)  # fmt: skip
ORIGIN, AS_PATH = bytes.fromhex("40010100"), bytes.fromhex("400200")
NEXT_HOP, LOCAL_PREF = bytes.fromhex("4003040a090002"), bytes.fromhex("40050400000064")
USUAL = ORIGIN + AS_PATH + NEXT_HOP + LOCAL_PREF


@pytest.fixture(scope="session")
def negotiated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return negotiate(SPEC, tmp_path_factory.mktemp("exabgp"))


def update(withdrawn: bytes, attributes: bytes, announced: bytes) -> bytes:
    return len(withdrawn).to_bytes(2, "big") + withdrawn + len(attributes).to_bytes(2, "big") + attributes + announced


def attribute(flags: int, code: int, value: bytes) -> bytes:
    if len(value) > 255:
        return bytes((flags | 0x10, code)) + len(value).to_bytes(2, "big") + value
    return bytes((flags, code, len(value))) + value


def verdict(klass: Any, body: bytes, negotiated: Any) -> str:
    """What ExaBGP does with the session: ends it with a code, or goes on (and with what attributes)."""
    negotiated.cached_wire, negotiated.cached_attributes = b"", None
    try:
        message = klass.unpack_message(body, Direction.IN, negotiated)
    except Notify as notify:
        return f"ended {notify.code}"
    except Exception as error:
        return f"ended 1 ({type(error).__name__})"[:7]  # the reactor turns any other error into Notify(1, 0)
    treat = Attribute.CODE.INTERNAL_TREAT_AS_WITHDRAW in message.attributes
    return f"goes on, {'withdraw' if treat else 'as it says'}"


V4 = b"\x1a\x0a\x01\x00\x40"
V6_REACH = bytes.fromhex("00020110") + bytes(15) + b"\1" + b"\0" + b"\x40\xfd\0\0\0\0\0\0\1"
BODIES = {
    "announce": update(b"", USUAL, V4 * 3),
    "mixed lengths": update(b"", USUAL, V4 + b"\x08\x0a" + b"\x20\x0a\x01\x02\x03" + b"\0"),
    "withdraw": update(V4 * 3, b"", b""),
    "withdraw one": update(V4, b"", b""),
    "both": update(V4, USUAL, V4),
    "v6 reach": update(b"", ORIGIN + AS_PATH + LOCAL_PREF + attribute(0x80, 14, V6_REACH), b""),
    "v6 unreach": update(b"", attribute(0x80, 15, b"\0\2\1\x40\xfd\0\0\0\0\0\0\1"), b""),
    "v6 EOR": update(b"", attribute(0x80, 15, b"\0\2\1"), b""),
    "EOR": update(b"", b"", b""),
    "length over 32": update(b"", USUAL, b"\x21\x0a\x01\x02\x03\x04"),
    "prefix cut": update(b"", USUAL, V4 + b"\x20\x0a\x01"),
    "withdrawn cut": update(b"\x20\x0a", b"", b""),
    "v6 length over 128": update(b"", USUAL + attribute(0x80, 14, V6_REACH[:21] + b"\x81" + bytes(17)), b""),
    "v6 prefix cut": update(b"", USUAL + attribute(0x80, 14, V6_REACH[:-2]), b""),
    "v6 next hop of 5": update(b"", USUAL + attribute(0x80, 14, b"\0\2\1\5" + bytes(6) + b"\x40" + bytes(8)), b""),
    "family not negotiated": update(b"", USUAL + attribute(0x80, 14, b"\0\1\x80\4" + bytes(10)), b""),
    "two MP_REACH": update(b"", USUAL + attribute(0x80, 14, V6_REACH) * 2, b""),
    "MP_REACH flags": update(b"", USUAL + attribute(0x40, 14, V6_REACH), b""),
    "bad ORIGIN": update(b"", attribute(0x40, 1, b"\7") + AS_PATH + NEXT_HOP, V4),
    "ORIGIN flags": update(b"", attribute(0x80, 1, b"\0") + AS_PATH + NEXT_HOP, V4),
    "twice ORIGIN": update(b"", ORIGIN + USUAL, V4),
    "attribute past the end": update(b"", USUAL[:-1], V4),
    "attributes past the end": b"\0\0\1\0" + USUAL + bytes(8),
    "withdrawn past the end": b"\xff\0" + bytes(20),
    "13 octets of nothing": bytes(13),
}


def test_exabgps_register_takes_our_class() -> None:
    """Fails loudly when ExaBGP changes: then opaque.py has to be looked at. (The speaker runs on, only slower.)"""
    before = Message.klass(Message.CODE.UPDATE)
    try:
        launcher.install(frozenset())
        assert Message.klass(Message.CODE.UPDATE) is OpaqueUpdate
    finally:
        Message.register(before)


def test_every_piece_of_ours_goes_into_exabgp() -> None:
    """Fails loudly when ExaBGP changes: the problem names what it costs until it is looked at."""
    assert launcher.install(frozenset()) == []


class Neighbor(dict[str, object]):
    """What a line says of a neighbor."""

    uid = "1"


@given(header=st.binary(), body=st.binary(), direction=st.sampled_from(["receive", "send"]))
def test_our_lines_of_messages_are_exabgps_own(header: bytes, body: bytes, direction: str) -> None:
    addresses = {"local-address": "10.9.0.1", "peer-address": "10.9.0.2", "router-id": "10.9.0.1"}
    neighbor = Neighbor(addresses, **{"local-as": 64512, "peer-as": 64513})
    lines = []
    for made in (JSON("5"), QuickJSON("5")):
        made.time = lambda _: 0.0  # else both would tell their own
        JSON._count.clear()
        lines.append(made.packets(neighbor, direction, 2, None, header, body))
    assert lines[0] == lines[1]


def test_exabgp_tells_of_messages_by_our_lines() -> None:
    launcher.install(frozenset())
    assert isinstance(Response.JSON("5"), QuickJSON)


def test_only_a_session_that_stands_and_has_nothing_to_do_or_read_may_miss_turns() -> None:
    from exabgp.bgp.fsm import FSM

    peer = RestartingPeer.__new__(RestartingPeer)
    peer.fsm, peer.proto, peer._teardown, peer._idle = FSM(peer, FSM.IDLE), None, None, True
    assert not peer.is_quiet(set())
    peer.fsm = FSM(peer, FSM.ESTABLISHED)
    assert peer.is_quiet({7})
    assert not peer.is_quiet({peer.socket()})
    peer._teardown = 4
    assert not peer.is_quiet(set())
    peer._teardown, peer._idle = None, False
    assert not peer.is_quiet(set())


def test_exabgp_builds_its_opens_from_the_class_that_we_replace() -> None:
    from exabgp.reactor import protocol

    assert protocol.Capabilities in (Capabilities, HonestCapabilities)


def test_a_peer_that_is_down_is_dialled_at_least_twice_a_second() -> None:
    from exabgp.reactor import peer

    launcher.install(frozenset())
    delay = peer.Delay()
    assert isinstance(delay, ShortDelay)
    for _ in range(100):
        delay.increase()
    assert 0.4 < delay._time - time.time() <= 0.5


def test_a_dial_that_nobody_answers_is_given_up_after_one_more_syn() -> None:
    from exabgp.protocol.family import AFI
    from exabgp.reactor.network import outgoing

    launcher.install(frozenset())
    with outgoing.create(AFI.ipv4) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == 1


@pytest.mark.parametrize("name", BODIES)
def test_the_verdict_on_an_update_is_exabgps(name: str, negotiated: Any) -> None:
    assert verdict(OpaqueUpdate, BODIES[name], negotiated) == verdict(Update, BODIES[name], negotiated)


@given(
    name=st.sampled_from(sorted(BODIES)), cut=st.integers(0, 60), at=st.integers(0, 80), octet=st.integers(0, 255),
)  # fmt: skip
def test_the_verdict_on_a_damaged_update_is_exabgps(negotiated: Any, name: str, cut: int, at: int, octet: int) -> None:
    body = bytearray(BODIES[name])
    if at < len(body):
        body[at] = octet
    damaged = bytes(body[: len(body) - cut] if cut < 20 else body)
    assert verdict(OpaqueUpdate, damaged, negotiated) == verdict(Update, damaged, negotiated)


def test_the_prefixes_of_a_good_update_stay_packed(negotiated: Any) -> None:
    for name in ("announce", "v6 reach", "withdraw", "both"):
        message = OpaqueUpdate.unpack_message(BODIES[name], Direction.IN, negotiated)
        assert isinstance(message, OpaqueUpdate)
        assert message.nlris == []


def test_prefixes_with_path_ids_are_walked_over_their_ids() -> None:
    assert check_nlri(b"\0\0\0\1" + V4 + b"\0\0\0\x40" + V4, 32, True)
    assert not check_nlri(b"\0\0\0\1" + V4 + b"\0\0", 32, True)
    assert not check_nlri(b"\0\0\0\1\x21\0\0\0\0\0", 32, True)


@pytest.mark.parametrize(("cold", "restarted", "flag"), [(True, True, 0), (True, False, 0x80), (False, True, 0x80)])
def test_the_f_bit_is_0_only_in_the_first_session_after_a_boot(
    negotiated: Any, monkeypatch: pytest.MonkeyPatch, cold: bool, restarted: bool, flag: int
) -> None:
    monkeypatch.setattr(HonestCapabilities, "cold", frozenset(("10.9.0.2",)) if cold else frozenset())
    offered = HonestCapabilities().new(negotiated.neighbor, restarted)[Capability.CODE.GRACEFUL_RESTART]
    assert set(offered.values()) == {flag}


def test_a_session_that_was_up_once_keeps_the_f_bit_also_when_other_settings_reset_it(
    negotiated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HonestCapabilities, "cold", frozenset(("10.9.0.2", "10.9.0.3")))
    peer = RestartingPeer(negotiated.neighbor, None)
    monkeypatch.setattr(Peer, "run", lambda _: ACTION.LATER)
    peer.run()
    assert "10.9.0.2" in HonestCapabilities.cold
    peer.fsm = FSM.ESTABLISHED
    peer.run()
    assert HonestCapabilities.cold == {"10.9.0.3"}


def test_exabgp_runs_on_when_our_classes_cannot_be_put_in(tmp_path: Path) -> None:
    """With a broken register the launcher says so, and puts the other pieces in; ExaBGP ends over the broken file."""
    program = (
        "import sys; from calicopy.speaker import launcher, opaque, peering\n"
        "def broken(*_): raise RuntimeError('the register is gone')\n"
        "opaque.register_update = broken\n"
        "code = launcher.run(sys.argv[1])\n"
        "from exabgp.reactor import peer, protocol\n"
        "assert peer.Delay is peering.ShortDelay and protocol.Capabilities is peering.HonestCapabilities\n"
        "sys.exit(code)"
    )
    config = tmp_path / "exabgp.conf"
    config.write_text("neighbor {\n")
    command = [sys.executable, "-c", program, str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=dict(os.environ), check=False)
    assert "UPDATEs are slower to read: RuntimeError('the register is gone')" in ended.stderr
    assert "configuration" in ended.stderr + ended.stdout
    assert ended.returncode == 1
