"""The speaker against BIRD while things change: a host that vanishes, keys, other sessions; families, refresh."""
from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator

import pytest
from speakers import OWNER, SPEC, Agent, Pair, eventually

from calicopy.bgp import RawAttribute
from calicopy.net import Family
from calicopy.seam.speaker import (
    AnnounceGroup,
    CommandResult,
    PeerDown,
    PeerUp,
    RefreshReceived,
    SessionSpec,
    UpdatesReceived,
)
from calicopy.speaker.control import Applied

pytestmark = pytest.mark.netns

TCP_RTO_MAX_MS, RTO_MAX_MS = 44, 2000  # as calicopy.speaker.peering has them

BOTH = (Family.IPV4, Family.IPV6)
V6 = SessionSpec(
    name="v6", peer_address="fd00:9::2", local_address="fd00:9::1", local_as=64512, peer_as=64512, router_id="10.9.0.1",
    families=BOTH, add_path_send=BOTH, add_path_receive=BOTH,
)  # fmt: skip
N1 = """
protocol bgp n1 {{
  local 10.9.0.2 as 64512; neighbor 10.9.0.1 as 64512;
  connect delay time 1; graceful restart on; debug {{ states, events }}; {options}
  ipv4 {{ import all; export all; next hop self; add paths on; }};
  ipv6 {{ import all; export all; next hop address fd00:9::2; add paths on; }};
}}
"""
N6 = """
protocol bgp n6 {{
  local fd00:9::2 as 64512; neighbor fd00:9::1 as 64512;
  connect delay time 1; graceful restart on; debug {{ states, events }}; {options}
  ipv4 {{ import all; export all; next hop address 10.9.0.2; add paths on; }};
  ipv6 {{ import all; export all; next hop self; add paths on; }};
}}
"""
HEAD = """
router id 10.9.0.2;
log "{log}" all;
protocol device {{}}
protocol static st4 {{ ipv4; route 10.77.0.0/24 blackhole; }}
protocol static st6 {{ ipv6; route fd77::/64 blackhole; }}
"""


def config(pair: Pair, *, n1: str = "passive on;", n6: str = "passive on;") -> str:
    """BIRD's text with both sessions."""
    return HEAD.format(log=pair.directory / "bird.log") + N1.format(options=n1) + N6.format(options=n6)


def repeats_soon() -> bool:
    """Whether this kernel lets a socket bound the pauses between its repetitions."""
    with socket.socket() as made:
        try:
            made.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS)
        except OSError:
            return False
    return True


@pytest.fixture
async def agent(pair: Pair) -> AsyncIterator[Agent]:
    created = Agent(pair)
    pair.start_speaker()
    yield created
    await created.close()


BOTH_ON_4 = dataclasses.replace(SPEC, families=BOTH, add_path_send=BOTH, add_path_receive=BOTH, hold_time_s=90)


def ups(agent: Agent, peer: str) -> int:
    return sum(isinstance(event, PeerUp) and event.peer == peer for event in agent.events)


def downs(agent: Agent, peer: str) -> int:
    return sum(isinstance(event, PeerDown) and event.peer == peer for event in agent.events)


# -- a host that vanishes without a FIN


@pytest.mark.parametrize("side", ["it dials", "we dial"])
async def test_a_peer_whose_host_vanished_and_came_back_is_up_again_at_once_and_not_at_hold_time(
    pair: Pair, agent: Agent, side: str
) -> None:
    dials = side == "it dials"
    pair.reconfigure_bird(config(pair, n1="" if dials else "passive on;"))
    await agent.control.apply([dataclasses.replace(BOTH_ON_4, passive=dials)])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 1)
    await asyncio.sleep(1.1)  # a second connection within a second of the first is no restart
    pair.lose_bird()
    assert not agent.of(PeerDown)
    pair.start_bird()
    began = time.monotonic()
    await eventually(lambda: len(agent.of(PeerUp)) == 2, 20)
    assert time.monotonic() - began < 3.0
    await eventually(lambda: pair.routes_at_bird() == 1)  # ExaBGP says again what it had announced
    assert downs(agent, SPEC.peer_address) == 1


async def test_both_sides_may_dial_and_end_in_one_session_each_time(pair: Pair, agent: Agent) -> None:
    """A connection that the peer dialled at the same time is not taken for its restart, over and over."""
    pair.reconfigure_bird(config(pair, n1=""))
    await agent.control.apply([BOTH_ON_4])
    await eventually(lambda: agent.of(PeerUp))
    for _ in range(5):
        pair.birdc("disable", "n1")
        await eventually(lambda: agent.of(PeerDown))
        agent.events.clear()
        pair.birdc("enable", "n1")
        await eventually(lambda: agent.of(PeerUp))
        await asyncio.sleep(1.5)  # BIRD's own dial comes a second after its start
        assert "Established" in pair.birdc("show", "protocols", "n1")
        (last,) = agent.of(PeerUp)
        assert not any(isinstance(event, PeerDown) for event in agent.events[agent.events.index(last) :])


@pytest.mark.skipif(not repeats_soon(), reason="the kernel is older than Linux 6.15: it has no TCP_RTO_MAX_MS")
async def test_a_passive_peer_that_was_away_for_long_is_up_again_soon_though_data_was_under_way(
    pair: Pair, agent: Agent
) -> None:
    pair.reconfigure_bird(config(pair))
    await agent.control.apply([BOTH_ON_4])
    await eventually(lambda: agent.of(PeerUp))
    pair.silence_bird()
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await asyncio.sleep(8.0)  # by now the kernel's pause between two tries would be 6 s
    assert not agent.of(PeerDown)
    pair.lose_bird()
    pair.start_bird()
    began = time.monotonic()
    await eventually(lambda: len(agent.of(PeerUp)) == 2, 20)
    assert time.monotonic() - began < 3.5
    await eventually(lambda: pair.routes_at_bird() == 1)


# -- keys


async def test_a_key_that_changes_in_its_file_resets_that_session_alone(pair: Pair, agent: Agent) -> None:
    key = pair.directory / "key"
    key.write_text("before\n")
    pair.reconfigure_bird(config(pair, n1='passive on; password "before";'))
    await agent.control.apply([dataclasses.replace(BOTH_ON_4, md5_password_file=str(key)), V6])
    watch = asyncio.get_running_loop().create_task(agent.control.watch())
    await eventually(lambda: len(agent.of(PeerUp)) == 2)
    pair.reconfigure_bird(config(pair, n1='passive on; password "after";'))
    await eventually(lambda: downs(agent, SPEC.peer_address))
    key.write_text("after\n")
    await eventually(lambda: ups(agent, SPEC.peer_address) == 2)
    key.unlink()  # it stays as it is
    await asyncio.sleep(1.5)  # three looks at the file that is gone
    assert downs(agent, SPEC.peer_address) == 1
    key.write_text("third")
    await eventually(lambda: downs(agent, SPEC.peer_address) >= 2)
    pair.reconfigure_bird(config(pair, n1='passive on; password "third";'))
    await eventually(lambda: ups(agent, SPEC.peer_address) >= 3, 15)
    assert (ups(agent, V6.peer_address), downs(agent, V6.peer_address)) == (1, 0)
    watch.cancel()


async def test_a_key_that_changes_while_the_peer_dials_is_the_listeners_too(pair: Pair, agent: Agent) -> None:
    key = pair.directory / "key"
    key.write_text("before")
    pair.reconfigure_bird(config(pair, n1='password "before";'))
    spec = dataclasses.replace(BOTH_ON_4, md5_password_file=str(key), passive=True)
    await agent.control.apply([spec])
    await eventually(lambda: agent.of(PeerUp), 15)
    key.write_text("after")
    assert await agent.control.apply([spec]) is Applied.RELOADED
    await eventually(lambda: agent.of(PeerDown))
    pair.reconfigure_bird(config(pair, n1='password "after";'))
    await eventually(lambda: ups(agent, SPEC.peer_address) == 2, 15)


@pytest.mark.parametrize("spec", [BOTH_ON_4, V6], ids=["over IPv4", "over IPv6"])
async def test_a_peer_with_ttl_security_may_dial_a_listener_that_others_share(
    pair: Pair, agent: Agent, spec: SessionSpec
) -> None:
    """Its kernel drops a SYN-ACK of ours whose TTL is not 255."""
    ours, other = spec.peer_address, spec.peer_address.replace("2", "3")
    text = config(pair, n1="ttl security on;", n6="ttl security on;")
    pair.reconfigure_bird(text.replace(f"local {ours} as 64512;", f"local {ours} as 65001;"))
    near = dataclasses.replace(spec, peer_as=65001, incoming_ttl=255, outgoing_ttl=255, passive=True)
    await agent.control.apply([dataclasses.replace(spec, name="other", peer_address=other, passive=True), near])
    await eventually(lambda: agent.of(PeerUp), 15)
    assert not agent.of(PeerDown)


# -- other sessions


async def test_twenty_changes_of_one_session_leave_the_other_alone(pair: Pair, agent: Agent) -> None:
    pair.reconfigure_bird(config(pair))
    await agent.control.apply([BOTH_ON_4])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.announce("10.200.0.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 1)
    variants = (
        [BOTH_ON_4, V6],
        [BOTH_ON_4, dataclasses.replace(V6, hold_time_s=60)],
        [BOTH_ON_4, dataclasses.replace(V6, hold_time_s=60, keepalive_s=3)],
        [BOTH_ON_4],
    )
    for number in range(20):
        assert await agent.control.apply(variants[number % len(variants)]) is Applied.RELOADED
        if number % len(variants) == 0:
            seen = number // len(variants)
            await eventually(lambda seen=seen: ups(agent, V6.peer_address) > seen)
    assert (ups(agent, SPEC.peer_address), downs(agent, SPEC.peer_address)) == (1, 0)
    assert pair.flaps() == 0
    assert pair.routes_at_bird() == 1


# -- families, paths and refresh


@pytest.mark.parametrize("spec", [BOTH_ON_4, V6], ids=["over IPv4", "over IPv6"])
async def test_both_families_go_both_ways_over_either_transport_with_several_paths(
    pair: Pair, agent: Agent, spec: SessionSpec
) -> None:
    pair.reconfigure_bird(config(pair))
    await agent.control.apply([spec])
    await eventually(lambda: agent.of(PeerUp))
    bodies = [b"\x18\x0a\x4d\x00", b"\x40\xfd\x77" + bytes(6)]  # BIRD's two prefixes
    await eventually(lambda: all(any(one in body for body in agent.bodies()) for one in bodies))
    groups = [
        AnnounceGroup(
            family=family, next_hop=next_hop, path_id=path_id, prefixes=(prefix,),
            attributes=(OWNER, RawAttribute(0x80, 4, path_id.to_bytes(4, "big"))),
        )
        for family, next_hop, prefix in (
            (Family.IPV4, "10.9.0.1", "10.200.0.0/26"), (Family.IPV6, "fd00:9::1", "fd05::/64"),
        )
        for path_id in (1, 2)
    ]  # fmt: skip
    assert await agent.client.announce([spec.peer_address], groups) is CommandResult.DONE
    show = ("show", "route", "protocol", "n1" if spec is BOTH_ON_4 else "n6", "all")
    await eventually(lambda: pair.birdc(*show).count("BGP.med: ") == 4)
    assert all(prefix in pair.birdc(*show) for prefix in ("10.200.0.0/26", "fd05::/64"))


async def test_bird_asks_for_the_routes_again_and_gets_them(pair: Pair, agent: Agent) -> None:
    pair.reconfigure_bird(config(pair))
    await agent.control.apply([SPEC])
    await eventually(lambda: agent.of(PeerUp))
    assert await agent.announce("10.200.0.0/26", "10.200.1.0/26") is CommandResult.DONE
    await eventually(lambda: pair.routes_at_bird() == 2)
    taken = updates_at_bird(pair)
    pair.birdc("reload", "in", "n1")
    await eventually(lambda: agent.of(RefreshReceived))
    await eventually(lambda: updates_at_bird(pair) == taken + 2)
    assert await agent.client.flush(SPEC.peer_address) is CommandResult.DONE
    await eventually(lambda: updates_at_bird(pair) == taken + 4)
    before = sum(len(event.bodies) for event in agent.events if isinstance(event, UpdatesReceived))
    assert await agent.client.route_refresh(SPEC.peer_address, Family.IPV4) is CommandResult.DONE
    await eventually(
        lambda: sum(len(event.bodies) for event in agent.events if isinstance(event, UpdatesReceived)) > before
    )
    assert pair.routes_at_bird() == 2
    assert pair.flaps() == 0


def updates_at_bird(pair: Pair) -> int:
    """IPv4 routes that BIRD was told by us so far, the same one each time anew."""
    shown = pair.birdc("show", "protocols", "all", "n1")
    (line, *_) = [one for one in shown.splitlines() if "Import updates:" in one]
    return int(line.split()[2])
