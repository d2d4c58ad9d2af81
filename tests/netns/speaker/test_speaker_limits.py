"""What ExaBGP does not do, and the agent has to know: a test for each point of docs/speaker.md."""
from __future__ import annotations

import dataclasses

import pytest
from rawpeer import NOTIFICATION, OPEN, UPDATE, RawPeer
from rawsessions import BOTH, FULL, P1, PLAIN, PORT, SPEC, group, held, listening, loopback
from speakers import Agent, eventually

from calicopy.bgp import Capabilities, decode_notification, decode_open, encode_end_of_rib
from calicopy.net import Family
from calicopy.seam.speaker import CommandResult, PeerDown, PeerUp
from calicopy.speaker.control import Applied

pytestmark = pytest.mark.netns


async def test_a_teardown_says_nothing_where_we_offer_graceful_restart_and_a_cease_elsewhere(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """It is our offer that counts for ExaBGP, not whether the peer has it too."""
    specs = [dataclasses.replace(SPEC, name=f"n{number}", peer_address=loopback(f"2.{number}")) for number in (1, 2, 3)]
    specs[2] = dataclasses.replace(specs[2], graceful_restart_time_s=0)
    both, ours, none = [
        await listening(peers, spec, one) for spec, one in zip(specs, (FULL, PLAIN, FULL), strict=True)
    ]
    await agent.control.apply(specs)
    await eventually(lambda: len(agent.of(PeerUp)) == 3)
    for spec in specs:
        assert await agent.client.teardown(spec.peer_address, 4) is CommandResult.DONE
    await eventually(lambda: all(peer.closed for peer in peers))
    assert not both.bodies(NOTIFICATION) + ours.bodies(NOTIFICATION)
    (said,) = none.bodies(NOTIFICATION)
    assert (decode_notification(said).code, decode_notification(said).subcode) == (6, 4)
    await eventually(lambda: all(peer.opened == 2 for peer in peers))  # they are dialled again


async def test_a_session_that_is_taken_out_is_closed_without_a_word_with_and_without_graceful_restart(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """So withdraw first: under graceful restart the peer keeps what it has for the restart time."""
    other = dataclasses.replace(SPEC, name="other", peer_address=loopback("2.2"))
    graceful, plain = await listening(peers, SPEC, FULL), await listening(peers, other)
    await agent.control.apply([SPEC, other])
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    await agent.control.apply([])
    await eventually(lambda: graceful.closed and plain.closed)
    assert not graceful.bodies(NOTIFICATION) + plain.bodies(NOTIFICATION)


async def test_a_hold_time_that_ran_out_is_said_so_the_peer_drops_our_routes_under_graceful_restart_too(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """RFC 4724 section 4: a NOTIFICATION ends it; only RFC 8538 would not."""
    peer = RawPeer(64512, "10.9.2.1", FULL, hold_time_s=3)
    peers.append(peer)
    await peer.listen(SPEC.peer_address, PORT)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerDown))
    (said,) = peer.bodies(NOTIFICATION)
    assert decode_notification(said).code == 4


async def test_the_first_open_of_a_process_says_restarted_and_so_does_one_after_a_change(
    agent: Agent, peers: list[RawPeer]
) -> None:
    peer = await listening(peers, SPEC, FULL)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    await agent.client.teardown(SPEC.peer_address, 4)
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    await agent.control.apply([dataclasses.replace(SPEC, hold_time_s=60)])
    await eventually(lambda: len(peer.bodies(OPEN)) == 3)
    restarts = [decode_open(body).capabilities.graceful_restart for body in peer.bodies(OPEN)]
    assert [one and one.restarting for one in restarts] == [True, False, True]


async def test_no_open_offers_what_exabgp_cannot_do(agent: Agent, peers: list[RawPeer]) -> None:
    """RFC 8538 (N bit), RFC 9494 (long-lived), RFC 9234 (role), RFC 8950 (IPv4 over IPv6 next hops)."""
    peer = await listening(peers, SPEC, FULL)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    offered = decode_open(peer.bodies(OPEN)[0]).capabilities
    assert offered.graceful_restart is not None
    assert not offered.graceful_restart.notification
    assert (offered.long_lived, offered.role, offered.extended_next_hop) == ((), None, False)


async def test_after_a_reconnect_exabgp_repeats_what_it_holds_and_end_of_rib_is_ours_to_send(
    agent: Agent, peers: list[RawPeer]
) -> None:
    peer = await listening(peers, SPEC, FULL)
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.client.announce([SPEC.peer_address], [group(P1)]) is CommandResult.DONE
    assert await agent.client.end_of_rib(SPEC.peer_address, Family.IPV4) is CommandResult.DONE
    end = encode_end_of_rib(Family.IPV4)
    await eventually(lambda: end in peer.bodies(UPDATE))
    peer.forget()
    await agent.client.teardown(SPEC.peer_address, 4)
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    await eventually(lambda: held(peer) == {(0, P1)})
    assert await agent.client.end_of_rib(SPEC.peer_address, Family.IPV4) is CommandResult.DONE
    await eventually(lambda: end in peer.bodies(UPDATE))
    assert peer.bodies(UPDATE).count(end) == 1


async def test_the_families_of_add_path_alone_are_no_reason_for_a_reset(agent: Agent, peers: list[RawPeer]) -> None:
    """They hold from the next session on. Whether there is ADD-PATH at all does reset it."""
    spec = dataclasses.replace(SPEC, add_path_send=(Family.IPV4,))
    peer = await listening(peers, SPEC, FULL)
    await agent.control.apply([spec])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.control.apply([dataclasses.replace(SPEC, add_path_send=BOTH)]) is Applied.RELOADED
    assert (peer.opened, peer.closed) == (1, 0)
    assert await agent.control.apply([SPEC]) is Applied.RELOADED
    await eventually(lambda: peer.opened == 2)


async def test_a_peer_without_the_multiprotocol_capability_has_ipv4_unicast(
    agent: Agent, peers: list[RawPeer]
) -> None:
    """Not so without our class: ExaBGP would take its routes, and send it none."""
    peer = await listening(peers, SPEC, Capabilities())
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.client.announce([SPEC.peer_address], [group(P1)]) is CommandResult.DONE
    await eventually(lambda: held(peer) == {(0, P1)})
