"""The whole speaker against BIRD: launcher, ExaBGP, bridge, client and control, in two namespaces."""
from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest
from speakers import OWNER, ROUTES, SPEC, Agent, Pair, eventually

from calicopy.bgp import RawAttribute
from calicopy.net import Family
from calicopy.seam.speaker import (
    AnnounceGroup,
    CommandResult,
    EventsLost,
    FsmState,
    PeerDown,
    PeerUp,
    RefreshReceived,
    SessionSpec,
    SpeakerAttached,
    SpeakerDetached,
    WithdrawGroup,
)
from calicopy.speaker.control import Applied, ConfigRefused
from calicopy.speaker.render import Rendered

pytestmark = pytest.mark.netns

KEY = "a key; with {odd} octets"
OTHERS = """
protocol static st6 { ipv6; route fd01::/64 blackhole; route fd02::/56 blackhole; }
protocol bgp n6 {
  local fd00:9::2 as 65001; neighbor fd00:9::1 as 64512; hold time 9; passive on;
  password "%s";
  ttl security on;
  ipv6 { import all; export all; };
}
"""


@pytest.fixture
async def agent(pair: Pair) -> AsyncIterator[Agent]:
    created = Agent(pair)
    yield created
    await created.close()


async def test_a_session_comes_up_and_routes_go_both_ways_raw_in_and_in_bulk_out(pair: Pair, agent: Agent) -> None:
    await agent.started()
    (up,) = agent.of(PeerUp)
    assert isinstance(up, PeerUp)
    assert up.local_open[:1] == up.peer_open[:1] == b"\4"
    assert up.peer_open[5:9] == bytes((10, 9, 0, 2))
    await eventually(lambda: b"\0\0\0\0" in agent.bodies())
    prefixes = tuple(f"10.200.{i // 4}.{i % 4 * 64}/26" for i in range(1000))
    assert await agent.announce(*prefixes) is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 1000)
    shown = pair.birdc("show", "route", "for", "10.200.1.1", "all")
    assert "BGP.large_community: (64512, 1, 168361985)" in shown
    assert "BGP.next_hop: 10.9.0.1" in shown
    listed = await agent.client.command("show adj-rib out")
    assert sum("10.200." in line for line in listed.output) == 1000
    assert await agent.withdraw(*prefixes[:600]) is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 400)
    assert not agent.of(EventsLost)


async def test_an_agent_detaches_and_another_attaches_without_a_flap(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await agent.close()
    second = Agent(pair)
    try:
        attached = await asyncio.wait_for(second.client.wait_attached(), 5)
        (peer,) = attached.peers
        (up,) = agent.of(PeerUp)
        assert isinstance(up, PeerUp)
        assert (peer.state, peer.local_open, peer.peer_open) == (FsmState.ESTABLISHED, up.local_open, up.peer_open)
        assert attached.instance == next(e.instance for e in agent.events if isinstance(e, SpeakerAttached))
        assert await second.client.route_refresh("10.9.0.2", Family.IPV4) is CommandResult.DONE
        await eventually(lambda: len(second.prefixes()) == ROUTES)
        await eventually(lambda: RefreshReceived("10.9.0.2", b"\0\1\2\1") in second.events)
        assert pair.flaps() == 0
        assert pair.routes_at_bird() == 1
    finally:
        await second.close()


async def test_a_killed_bridge_is_back_with_both_opens_and_no_flap(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    for _ in range(3):
        killed = agent.client.bridge_pid
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda killed=killed: agent.client.bridge_pid not in (0, killed) and agent.client.attached)
        attached = agent.client.attached
        assert attached is not None
        (peer,) = attached.peers
        assert peer.state is FsmState.ESTABLISHED
        assert peer.peer_open
    assert await agent.announce("10.200.1.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 2)
    assert pair.flaps() == 0


async def test_a_killed_exabgp_loses_no_route_at_the_peer_and_its_successor_is_new(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26", "10.200.1.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 2)
    before = agent.client.attached
    assert before is not None
    os.kill(before.exabgp_pid, signal.SIGKILL)
    await eventually(lambda: agent.of(SpeakerDetached) and pair.flaps() == 1)
    assert pair.routes_at_bird() == 2
    agent.events.clear()
    pair.start_speaker()
    await eventually(lambda: agent.of(PeerUp))
    after = agent.client.attached
    assert after is not None
    assert after.instance != before.instance
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 1)  # the one not announced again goes with our End-of-RIB
    assert "Neighbor graceful restart done" in pair.log()


async def test_sigterm_closes_without_a_notification_so_the_peer_keeps_the_routes(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 1)
    assert agent.client.attached is not None
    os.kill(agent.client.attached.exabgp_pid, signal.SIGTERM)
    await eventually(lambda: pair.flaps() == 1)
    assert pair.routes_at_bird() == 1
    assert "Neighbor graceful restart detected" in pair.log()


async def test_a_reload_adds_and_removes_a_peer_and_leaves_the_other_session_alone(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    other = dataclasses.replace(SPEC, name="other", peer_address="10.9.0.9", passive=True)
    assert await agent.control.apply([SPEC]) is Applied.UNCHANGED
    assert await agent.control.apply([SPEC, other]) is Applied.RELOADED
    assert await agent.control.apply([other, SPEC]) is Applied.UNCHANGED
    assert await agent.control.apply([SPEC]) is Applied.RELOADED
    assert pair.flaps() == 0
    assert pair.routes_at_bird() == 1


async def test_a_changed_session_alone_is_reset(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.control.apply([dataclasses.replace(SPEC, hold_time_s=12)]) is Applied.RELOADED
    await eventually(lambda: agent.of(PeerDown) and len(agent.of(PeerUp)) == 2)


async def test_a_config_that_exabgp_refuses_never_reaches_the_reload(
    pair: Pair, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.started()
    good = pair.config.read_text()
    bad = Rendered(good.replace("hold-time 9", "hold-time no"))
    monkeypatch.setattr("calicopy.speaker.control.render", lambda *_, **__: bad)
    with pytest.raises(ConfigRefused, match="hold-time"):
        await agent.control.apply([SPEC])
    monkeypatch.undo()
    assert pair.config.read_text() == good
    other = dataclasses.replace(SPEC, name="other", peer_address="10.9.0.9", passive=True)
    assert await agent.control.apply([SPEC, other]) is Applied.RELOADED
    assert pair.flaps() == 0


async def test_an_exabgp_that_a_failed_reload_left_without_its_bridge_is_ended_and_the_peer_keeps_the_routes(
    pair: Pair, agent: Agent
) -> None:
    await agent.started()
    watch = asyncio.get_running_loop().create_task(agent.control.watch())
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    good = pair.config.read_text()
    pair.config.write_text("neighbor {\n")
    assert await agent.client.reload() is CommandResult.DONE  # says done, fails, and drops its helper
    await eventually(lambda: agent.of(SpeakerDetached))
    pair.config.write_text(good)
    speaker = pair.processes[-1]
    await eventually(lambda: speaker.poll() is not None)
    assert pair.routes_at_bird() == 1
    pair.start_speaker()
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    assert await agent.control.apply([SPEC]) is Applied.UNCHANGED
    watch.cancel()


async def test_a_reload_without_effect_makes_exabgp_start_anew_under_graceful_restart(
    pair: Pair, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE

    async def lost_on_the_way(*_: object) -> CommandResult:
        return CommandResult.UNKNOWN

    monkeypatch.setattr(agent.client, "reload", lost_on_the_way)
    other = dataclasses.replace(SPEC, name="other", peer_address="10.9.0.9", passive=True)
    assert await agent.control.apply([SPEC, other]) is Applied.RESTARTED
    await eventually(lambda: agent.of(SpeakerDetached))
    assert pair.routes_at_bird() == 1
    pair.start_speaker()
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    assert await agent.control.apply([SPEC, other]) is Applied.UNCHANGED


async def test_an_agent_that_is_stopped_longer_than_the_hold_time_loses_no_session(pair: Pair, agent: Agent) -> None:
    await agent.started()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await agent.close()
    program = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.connect({pair.socket!r}); time.sleep(600)"
    deaf = pair.spawn(sys.executable, "-c", program, namespace=pair.ours)
    try:
        await asyncio.sleep(10.5)  # the hold time is 9
        assert pair.flaps() == 0
    finally:
        deaf.kill()
        deaf.wait()


async def test_the_sessions_are_dialled_within_moments_of_the_configuration(
    pair: Pair, agent: Agent, capfd: pytest.CaptureFixture[str]
) -> None:
    """No check comes before the dial. The bound goes with the machine: what it takes to load ExaBGP twice."""
    pair.start_speaker()
    began = time.monotonic()
    await eventually(lambda: "calicopy speaker: waiting for" in capfd.readouterr().err)  # its modules are loaded
    to_load_s = time.monotonic() - began
    began = time.monotonic()
    apply = asyncio.get_running_loop().create_task(agent.control.apply([SPEC]))
    await eventually(lambda: agent.of(PeerUp), 3.0)
    assert time.monotonic() - began < max(1.0, 2 * to_load_s)
    assert await apply is Applied.WRITTEN


async def test_an_external_ipv6_session_with_key_and_gtsm_carries_routes_both_ways(pair: Pair, agent: Agent) -> None:
    key = pair.directory / "key"
    key.write_text(f"{KEY}\n")
    config = pair.directory / "bird.conf"
    config.write_text(config.read_text() + OTHERS % KEY)
    assert "Reconfig" in pair.birdc("configure")
    spec = SessionSpec(
        name="v6", peer_address="fd00:9::2", local_address="fd00:9::1", local_as=64512, peer_as=65001,
        router_id="10.9.0.1", families=(Family.IPV6,), md5_password_file=str(key), outgoing_ttl=255, incoming_ttl=255,
        hold_time_s=9,
    )  # fmt: skip
    pair.start_speaker()
    await agent.control.apply([spec])
    await eventually(lambda: agent.of(PeerUp))
    await eventually(lambda: any(b"\x40\xfd\x01" in body for body in agent.bodies()))
    path = RawAttribute(0x40, 2, bytes.fromhex("02010000fc00"))
    group = AnnounceGroup(family=Family.IPV6, next_hop="fd00:9::1", attributes=(path, OWNER), prefixes=("fd05::/64",))
    gone = WithdrawGroup(family=Family.IPV6, prefixes=("fd05::/64",))
    assert await agent.client.announce(["fd00:9::2"], [group]) is CommandResult.DONE
    await eventually(lambda: "fd05::/64" in pair.birdc("show", "route", "protocol", "n6"))
    assert "BGP.as_path: 64512" in pair.birdc("show", "route", "for", "fd05::/64", "all")
    assert await agent.client.withdraw(["fd00:9::2"], [gone]) is CommandResult.DONE
    await eventually(lambda: "fd05::/64" not in pair.birdc("show", "route", "protocol", "n6"))


async def test_the_first_session_after_a_boot_says_that_no_forwarding_state_was_kept(pair: Pair, agent: Agent) -> None:
    pair.start_speaker()
    await agent.control.apply([dataclasses.replace(SPEC, restarted_without_state=True)])
    await eventually(lambda: agent.of(PeerUp))
    (up,) = agent.of(PeerUp)
    assert isinstance(up, PeerUp)
    capability = b"\x40\x06\x80\x78\x00\x01\x01"  # graceful restart, R bit, 120 s, IPv4 unicast
    assert capability + b"\x00" in up.local_open
    assert await agent.control.apply([SPEC]) is Applied.UNCHANGED
    assert "cold" not in pair.config.read_text()
    assert agent.client.attached is not None
    os.kill(agent.client.attached.exabgp_pid, signal.SIGKILL)
    await eventually(lambda: agent.of(SpeakerDetached))
    pair.start_speaker()
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    again = agent.of(PeerUp)[1]
    assert isinstance(again, PeerUp)
    assert capability + b"\x80" in again.local_open


async def test_a_peer_that_comes_back_is_dialled_within_moments(pair: Pair, agent: Agent) -> None:
    await agent.started()
    bird = pair.processes[0]
    bird.send_signal(signal.SIGKILL)
    bird.wait()
    await eventually(lambda: agent.of(PeerDown))
    await asyncio.sleep(4.0)  # ExaBGP's own delay would have grown to seconds
    pair.start_bird()
    await eventually(lambda: "Started" in pair.log())
    await eventually(lambda: len(agent.of(PeerUp)) == 2, 1.5)
