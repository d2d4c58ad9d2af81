"""A real ExaBGP, with our classes, against peers of our own on the loopback: timers, TTLs, restarts, octets."""
from __future__ import annotations

import asyncio
import dataclasses
import socket
import time

import pytest
from rawpeer import KEEPALIVE, NOTIFICATION, OPEN, REFRESH, UPDATE, RawPeer
from rawsessions import BOTH, FULL, LISTEN, P1, P2, PLAIN, PORT, SPEC, bound, dialling, group, held, listening, loopback
from speakers import Agent, Host, eventually

from calicopy.bgp import (
    Capabilities,
    RawAttribute,
    RefreshKind,
    encode_route_refresh,
)
from calicopy.net import Family, Prefix
from calicopy.seam.speaker import (
    CommandResult,
    PeerDown,
    PeerUp,
    RefreshReceived,
    WithdrawGroup,
)
from calicopy.speaker.adj_out import announced
from calicopy.speaker.control import Applied

pytestmark = pytest.mark.netns

# -- timers


async def test_keepalives_go_out_as_configured_and_a_change_holds_at_once(agent: Agent, peers: list[RawPeer]) -> None:
    peer = await listening(peers, SPEC)
    await agent.control.apply([dataclasses.replace(SPEC, keepalive_s=1)])
    await eventually(lambda: peer.bodies(KEEPALIVE))
    began = time.monotonic()
    await eventually(lambda: len(peer.bodies(KEEPALIVE)) >= 5)
    assert time.monotonic() - began > 1.5
    assert await agent.control.apply([SPEC]) is Applied.RELOADED  # a third of 90 s from now on
    await eventually(lambda: time.monotonic() - peer.messages[-1][0] > 3.0, 15)
    before = len(peer.bodies(KEEPALIVE))
    assert await agent.control.apply([dataclasses.replace(SPEC, keepalive_s=1)]) is Applied.RELOADED
    await eventually(lambda: len(peer.bodies(KEEPALIVE)) >= before + 2)
    assert (peer.opened, peer.closed) == (1, 0)


async def test_keepalives_are_never_rarer_than_a_third_of_the_negotiated_hold_time(
    agent: Agent, peers: list[RawPeer]
) -> None:
    peer = RawPeer(64512, "10.9.2.1", PLAIN, hold_time_s=3)
    peers.append(peer)
    await peer.listen(SPEC.peer_address, PORT)
    await agent.control.apply([dataclasses.replace(SPEC, keepalive_s=30)])
    await eventually(lambda: len(peer.bodies(KEEPALIVE)) >= 3, 5)


# -- addresses, ports and TTLs


async def test_sessions_listen_on_an_address_and_port_of_their_own_each(agent: Agent, peers: list[RawPeer]) -> None:
    specs = [
        dataclasses.replace(
            SPEC, name=f"n{number}", peer_address=loopback(f"2.{number}"),
            local_address=loopback(f"0.{number}"), passive=True,
            listen_port=LISTEN + number,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip
    await agent.control.apply(specs)
    await bound(agent)
    for spec in specs:
        await dialling(peers, spec)
    await eventually(lambda: all(peer.established for peer in peers))


async def test_ttl_security_of_a_session_is_its_own_on_an_address_and_port_that_it_shares(
    agent: Agent, peers: list[RawPeer]
) -> None:
    near = dataclasses.replace(SPEC, name="near", passive=True, incoming_ttl=255, outgoing_ttl=255)
    far = dataclasses.replace(SPEC, name="far", peer_address=loopback("2.2"), passive=True)
    await agent.control.apply([near, far])
    await bound(agent)
    for ttl in (64, 254):
        distant = await dialling(peers, near, ttl=ttl)
        await eventually(lambda distant=distant: distant.closed)
        assert not distant.opened
    good = await dialling(peers, near, ttl=255)
    other = await dialling(peers, far, ttl=64)
    await eventually(lambda: good.established and other.established)
    assert good.closed == other.closed == 0


async def test_a_distant_connection_never_ends_a_session_that_has_ttl_security(
    agent: Agent, peers: list[RawPeer]
) -> None:
    near = dataclasses.replace(SPEC, passive=True, incoming_ttl=255, outgoing_ttl=255)
    await agent.control.apply([near])
    await bound(agent)
    good = await dialling(peers, near, FULL, ttl=255)
    await eventually(lambda: agent.of(PeerUp))
    await asyncio.sleep(1.1)  # a connection within a second would be taken for a collision
    forged = await dialling(peers, near, FULL, ttl=254)
    await eventually(lambda: forged.closed)
    assert (good.closed, forged.opened) == (0, 0)
    assert not agent.of(PeerDown)


async def test_a_session_without_a_port_takes_no_connection_that_its_address_gets_for_another(
    agent: Agent, peers: list[RawPeer]
) -> None:
    deaf = dataclasses.replace(SPEC, name="deaf", listen_port=None)
    other = dataclasses.replace(SPEC, name="other", peer_address=loopback("2.2"), passive=True)
    await agent.control.apply([deaf, other])
    await bound(agent)
    refused = await dialling(peers, deaf)
    await eventually(lambda: refused.closed)
    assert not refused.opened
    taken = await dialling(peers, other)
    await eventually(lambda: taken.established)


@pytest.mark.parametrize(("outgoing", "expected"), [(None, 64), (1, 1), (4, 4), (255, 255)])
async def test_what_is_sent_has_the_configured_ttl_from_the_first_packet_on(
    agent: Agent, outgoing: int | None, expected: int
) -> None:
    with socket.create_server((SPEC.peer_address, PORT)) as server:
        server.setsockopt(socket.IPPROTO_TCP, 27, 1)  # TCP_SAVE_SYN
        await agent.control.apply([dataclasses.replace(SPEC, outgoing_ttl=outgoing, peer_as=64513)])
        server.setblocking(False)
        made, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(server), 10)
        with made:
            assert made.getsockopt(socket.IPPROTO_TCP, 28, 120)[8] == expected  # TCP_SAVED_SYN


# -- a peer that comes back before its old session ended


async def test_a_new_connection_takes_the_place_of_the_old_session_without_a_notification(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """RFC 4724 section 5."""
    old = await listening(peers, SPEC, FULL)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.client.announce([SPEC.peer_address], [group(P1)]) is CommandResult.DONE
    await eventually(lambda: held(old) == {(0, P1)})
    await asyncio.sleep(1.1)  # a connection within a second is taken for a collision
    began = time.monotonic()
    new = await dialling(peers, SPEC, FULL)
    await eventually(lambda: len(agent.of(PeerUp)) == 2, 3)
    assert time.monotonic() - began < 1.0
    assert agent.of(PeerDown) == [PeerDown(SPEC.peer_address, "the peer opened a new connection")]
    assert old.closed
    assert not old.bodies(NOTIFICATION)
    await eventually(lambda: held(new) == {(0, P1)})  # ExaBGP still holds it
    assert len(old.bodies(OPEN)) == len(new.bodies(OPEN)) == 1


async def test_without_graceful_restart_the_old_session_stays_and_the_new_connection_is_refused(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """RFC 4271 section 6.8."""
    old = await listening(peers, SPEC)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    await asyncio.sleep(1.1)  # as above
    new = await dialling(peers, SPEC)
    await eventually(lambda: new.closed)
    assert (old.closed, new.opened) == (0, 0)


async def test_a_connection_that_was_dialled_at_the_same_time_is_no_restart(agent: Agent, peers: list[RawPeer]) -> None:
    old = await listening(peers, SPEC, FULL)
    applying = asyncio.create_task(agent.control.apply([SPEC]))  # it checks for a second or more
    await eventually(lambda: agent.of(PeerUp))  # before that the router ids decide (RFC 4271 section 6.8)
    new = await dialling(peers, SPEC, FULL)
    await eventually(lambda: new.closed)
    assert (old.closed, new.opened) == (0, 0)
    await applying


# -- what goes out


async def test_one_command_tells_several_peers_each_in_the_form_that_it_negotiated(
    agent: Agent, peers: list[RawPeer]
) -> None:
    specs = [
        dataclasses.replace(
            SPEC, name=f"n{number}", peer_address=loopback(f"2.{number}"), add_path_send=BOTH, add_path_receive=BOTH
        )
        for number in (1, 2, 3)
    ]
    old = dataclasses.replace(PLAIN, asn4=None)
    full, plain, short = [
        await listening(peers, spec, one) for spec, one in zip(specs, (FULL, PLAIN, old), strict=True)
    ]
    await agent.control.apply(specs)
    await eventually(lambda: len(agent.of(PeerUp)) == 3)
    path = RawAttribute(0x40, 2, bytes.fromhex("020200010000 00000007" "0101000100ff"))
    odd = RawAttribute(0xE0, 99, b"\xde\xad\xbe\xef")
    to = [spec.peer_address for spec in specs]
    sent = group(P1, P2, attributes=(path, odd), path_id=9)
    assert await agent.client.announce(to, [sent]) is CommandResult.DONE
    await eventually(lambda: all(len(held(peer)) == 2 for peer in peers))
    assert held(full) == {(9, P1), (9, P2)}
    assert held(plain) == held(short) == {(0, P1), (0, P2)}
    wide = bytes.fromhex("400210 020200010000 00000007 0101000100ff")
    for peer in (full, plain):
        assert all(wide in body and bytes.fromhex("e06304deadbeef") in body for body in peer.bodies(UPDATE))
    (narrow,) = short.bodies(UPDATE)
    assert bytes.fromhex("40020a 02025ba00007 01015ba0") in narrow
    assert bytes.fromhex("c01110 020200010000 00000007 0101000100ff") in narrow
    assert await announced(agent.client) == {
        one: {Family.IPV4: tuple((9, Prefix.parse(prefix).packed) for prefix in (P1, P2))} for one in to
    }
    gone = WithdrawGroup(family=Family.IPV4, path_id=9, prefixes=(P1,))
    assert await agent.client.withdraw(to[:2], [gone]) is CommandResult.DONE
    await eventually(lambda: held(full) == {(9, P2)} and held(plain) == {(0, P2)})
    assert len(held(short)) == 2


async def test_two_paths_of_a_prefix_live_and_die_each_on_its_own(agent: Agent, peers: list[RawPeer]) -> None:
    spec = dataclasses.replace(SPEC, add_path_send=BOTH, add_path_receive=BOTH)
    peer = await listening(peers, spec, FULL)
    await agent.control.apply([spec])
    await eventually(lambda: agent.of(PeerUp))
    paths = [group(P1, path_id=number) for number in (1, 2, 0xFFFFFFFF)]
    assert await agent.client.announce([spec.peer_address], paths) is CommandResult.DONE
    await eventually(lambda: held(peer) == {(1, P1), (2, P1), (0xFFFFFFFF, P1)})
    gone = WithdrawGroup(family=Family.IPV4, path_id=2, prefixes=(P1,))
    assert await agent.client.withdraw([spec.peer_address], [gone]) is CommandResult.DONE
    await eventually(lambda: held(peer) == {(1, P1), (0xFFFFFFFF, P1)})


async def test_a_command_to_peers_that_are_no_sessions_reaches_the_others_and_is_an_error_for_none(
    agent: Agent, peers: list[RawPeer]
) -> None:
    peer = await listening(peers, SPEC)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.client.announce([loopback("2.77"), SPEC.peer_address], [group(P1)]) is CommandResult.DONE
    await eventually(lambda: held(peer) == {(0, P1)})
    assert await agent.client.announce([loopback("2.77")], [group(P2)]) is CommandResult.ERROR


async def test_exabgp_without_our_classes_says_the_same(host: Host, peers: list[RawPeer]) -> None:
    """Slower, and without what docs/speaker.md lists; but every command that we have means the same."""
    agent = Agent(host)
    specs = [
        dataclasses.replace(
            SPEC, name=f"n{number}", peer_address=loopback(f"2.{number}"), add_path_send=BOTH, add_path_receive=BOTH,
            keepalive_s=1,
        )
        for number in (1, 2)
    ]  # fmt: skip
    to = [spec.peer_address for spec in specs]
    full, plain = [await listening(peers, spec, one) for spec, one in zip(specs, (FULL, PLAIN), strict=True)]
    await agent.control.apply(specs)
    host.start_plain_exabgp()
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    odd = RawAttribute(0xE0, 99, b"\xde\xad\xbe\xef")
    paths = [group(P1, P2, attributes=(odd,), path_id=number) for number in (1, 2)]
    assert await agent.client.announce(to, paths) is CommandResult.DONE
    await eventually(lambda: len(held(full)) == 4 and len(held(plain)) == 2)
    assert all(bytes.fromhex("e06304deadbeef") in body for peer in peers for body in peer.bodies(UPDATE))
    gone = WithdrawGroup(family=Family.IPV4, path_id=1, prefixes=(P1, P2))
    assert await agent.client.withdraw(to, [gone]) is CommandResult.DONE
    await eventually(lambda: held(full) == {(2, P1), (2, P2)})
    full.forget()
    assert await agent.client.flush(to[0]) is CommandResult.DONE
    await eventually(lambda: held(full) == {(2, P1), (2, P2)})
    assert await agent.control.apply(specs[:1]) is Applied.RELOADED
    assert full.closed == 0
    await agent.close()


async def test_a_command_is_as_fast_as_ever_while_another_session_is_down(agent: Agent, peers: list[RawPeer]) -> None:
    """ExaBGP's own loop sleeps 50 ms a turn as long as a closed socket is in its poll set."""
    specs = [
        dataclasses.replace(SPEC, name=f"n{number}", peer_address=loopback(f"2.{number}"), passive=True)
        for number in (1, 2)
    ]
    await agent.control.apply(specs)
    await bound(agent)
    for spec in specs:
        await dialling(peers, spec)
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    await peers[0].close()
    await eventually(lambda: agent.of(PeerDown))
    took = []
    for number in range(15):
        began = time.monotonic()
        to = [specs[1].peer_address]
        assert await agent.client.announce(to, [group(f"10.3.{number}.0/24")]) is CommandResult.DONE
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.07)  # so that each finds ExaBGP asleep
    assert sorted(took)[len(took) // 2] < 0.03


# -- route refresh


@pytest.mark.parametrize("asked", [True, False], ids=["the peer asks", "we are told to"])
@pytest.mark.parametrize("capabilities", [PLAIN, FULL], ids=["plain", "enhanced"])
async def test_all_routes_go_out_again_on_request_between_marks_where_both_sides_have_them(
    agent: Agent, peers: list[RawPeer], asked: bool, capabilities: Capabilities
) -> None:
    peer = await listening(peers, SPEC, capabilities)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    attributes = (RawAttribute(0x80, 4, bytes(4)),)
    groups = [group(P1, P2), group("10.2.0.0/24", attributes=attributes)]
    assert await agent.client.announce([SPEC.peer_address], groups) is CommandResult.DONE
    await eventually(lambda: len(held(peer)) == 3)
    peer.forget()
    if asked:
        peer.send(REFRESH, encode_route_refresh(Family.IPV4))
        await eventually(lambda: agent.of(RefreshReceived))
    else:
        assert await agent.client.flush(SPEC.peer_address) is CommandResult.DONE
    marks = 0 if capabilities is PLAIN else 2
    await eventually(lambda: len(peer.bodies(UPDATE)) == 2 and len(peer.bodies(REFRESH)) >= marks)
    kinds = [(kind, body) for _, kind, body in peer.messages if kind in (UPDATE, REFRESH)]
    if capabilities is PLAIN:
        assert [kind for kind, _ in kinds] == [UPDATE, UPDATE]
        return
    begin, end = (encode_route_refresh(Family.IPV4, kind) for kind in (RefreshKind.BEGIN, RefreshKind.END))
    at = [body for _, body in kinds]
    updates = [place for place, (kind, _) in enumerate(kinds) if kind == UPDATE]
    assert at.index(begin) < min(updates) <= max(updates) < at.index(end)


async def test_a_session_that_is_down_cannot_be_told_again(agent: Agent) -> None:
    await agent.control.apply([SPEC])
    await bound(agent)
    assert await agent.client.flush(SPEC.peer_address) is CommandResult.ERROR
