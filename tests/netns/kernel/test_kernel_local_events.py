"""A link that is lost, as the agent's kernel edge tells the core: at once, and whatever else the edge has to do."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from calicopy.agent.kernel_edge import KernelEdge
from calicopy.agent.udp_edge import UdpEdge
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net.nexthop import NextHopFacts

pytestmark = pytest.mark.netns

NEIGHBOR, FAR = ip_address("192.168.0.2"), ip_address("203.0.113.9")
LOSSES = {
    "set down": ("link set va down", "link set va up"),
    "without carrier": ("link set vb down", "link set vb up"),
    "without its address": ("address del 192.168.0.1/24 dev va", "address add 192.168.0.1/24 dev va"),
}


@pytest.mark.parametrize("how", LOSSES)
async def test_next_hops_over_a_lost_link_are_told_before_the_loss_and_while_settings_are_waited_for(
    netns, kernel, tmp_path, eventually: Callable[..., Awaitable[None]], how: str
) -> None:
    posted: list[object] = []
    facts: dict[object, NextHopFacts] = {}

    def post(event: object) -> None:
        posted.append(event)
        if isinstance(event, ev.NextHopsResolved):
            facts.update(event.facts)

    edge = KernelEdge(kernel, (), post, udp=UdpEdge(tmp_path, post))
    # What is ensured on links never has its turn here: `edge.host` does not run.
    tasks = [asyncio.create_task(work) for work in (edge.looks.run(), edge.next_hops.run(), edge.listen())]
    (loss, cure), lost = LOSSES[how], netns.index("va")
    try:
        edge.looks.put(do.ResolveNextHops(frozenset({NEIGHBOR, FAR})))
        await eventually(lambda: facts.keys() == {NEIGHBOR, FAR} and facts[NEIGHBOR].reachable)
        assert not facts[FAR].reachable
        posted.clear()
        netns.ip(loss)
        await eventually(lambda: any(isinstance(event, ev.LinksLost) and lost in event.ifindexes for event in posted))
        at = next(n for n, event in enumerate(posted) if isinstance(event, ev.LinksLost) and lost in event.ifindexes)
        assert ev.NextHopsResolved({NEIGHBOR: NextHopFacts.unreachable(NEIGHBOR)}) in posted[:at]
        netns.ip(cure)
        await eventually(lambda: facts[NEIGHBOR].reachable)
        assert not any(isinstance(event, ev.NextHopsResolved) and FAR in event.facts for event in posted)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_next_hop_behind_an_interface_that_is_gone_is_told(netns, kernel, tmp_path, eventually) -> None:
    facts: dict[object, NextHopFacts] = {}

    def post(event: object) -> None:
        if isinstance(event, ev.NextHopsResolved):
            facts.update(event.facts)

    edge = KernelEdge(kernel, (), post, udp=UdpEdge(tmp_path, post))
    tasks = [asyncio.create_task(work) for work in (edge.looks.run(), edge.listen())]
    try:
        edge.looks.put(do.ResolveNextHops(frozenset({NEIGHBOR})))
        await eventually(lambda: NEIGHBOR in facts and facts[NEIGHBOR].reachable)
        netns.ip("link del va")
        await eventually(lambda: not facts[NEIGHBOR].reachable)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
