"""Sessions of a real ExaBGP with peers of our own, on the loopback: no namespaces, one address for each."""
from __future__ import annotations

import asyncio
import dataclasses
import os

from rawpeer import RawPeer
from speakers import Agent

from calicopy.bgp import Capabilities, GracefulRestart, PathMode, RawAttribute
from calicopy.net import Family, Prefix
from calicopy.seam.speaker import AnnounceGroup, SessionSpec

BOTH = (Family.IPV4, Family.IPV6)
PORT, LISTEN = 31790, 31179


def loopback(host: str) -> str:
    """An address of the loopback; each process of pytest-xdist has a /16 of its own, since the ports are the same."""
    return f"127.{9 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}.{host}"


LOCAL = loopback("0.1")
RESTART = GracefulRestart(120, tuple((family, True) for family in BOTH))
PLAIN = Capabilities(families=BOTH, asn4=64512, route_refresh=True)
FULL = dataclasses.replace(
    PLAIN, enhanced_refresh=True, extended_message=True, graceful_restart=RESTART,
    add_path=tuple((family, PathMode.BOTH) for family in BOTH),
)  # fmt: skip
SPEC = SessionSpec(
    name="raw", peer_address=loopback("2.1"), local_address=LOCAL, local_as=64512, peer_as=64512, router_id="10.9.0.1",
    families=BOTH, listen_port=LISTEN, peer_port=PORT,
)  # fmt: skip
P1, P2 = "10.1.0.0/26", "10.1.0.64/26"


async def listening(peers: list[RawPeer], spec: SessionSpec, capabilities: Capabilities = PLAIN) -> RawPeer:
    peer = RawPeer(spec.peer_as, f"10.9.2.{len(peers) + 1}", capabilities)
    peers.append(peer)
    await peer.listen(spec.peer_address, PORT)
    return peer


async def dialling(
    peers: list[RawPeer], spec: SessionSpec, capabilities: Capabilities = PLAIN, ttl: int = 0
) -> RawPeer:
    peer = RawPeer(spec.peer_as, f"10.9.2.{len(peers) + 1}", capabilities)
    peers.append(peer)
    await peer.dial(spec.local_address, spec.listen_port or LISTEN, source=spec.peer_address, ttl=ttl)
    return peer


async def bound(agent: Agent) -> None:
    """Until ExaBGP runs, and so listens."""
    await asyncio.wait_for(agent.client.wait_attached(), 10)


def group(*prefixes: str, attributes: tuple[RawAttribute, ...] = (), path_id: int = 0) -> AnnounceGroup:
    return AnnounceGroup(
        family=Family.IPV4, next_hop="10.9.0.1", attributes=attributes, prefixes=prefixes, path_id=path_id
    )


def held(peer: RawPeer) -> set[tuple[int, str]]:
    return {(path_id, str(Prefix(Family.IPV4, packed))) for path_id, packed in peer.routes()}
