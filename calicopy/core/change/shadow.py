"""The RIB and the FIB as they would be under another cluster file, made from the paths that there are now.

Theory of operation: the shadow parts are made as those of a core that begins, and are fed from the Adj-RIB-In of before
policy, with what is known of the host. All of it is cut in slices, between which the caller may do something else: the
generator yields after each. Sessions that the new file drops at once bring nothing; those that linger bring what they
have, since they go only when there is another way.
"""
from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from itertools import islice

from calicopy.bgp.update import NlriBatch, Update
from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.core.core import Core
from calicopy.core.setup import fib_for, ipam_for, peer_info, rib_for
from calicopy.fib import Fib
from calicopy.ipam import Ipam
from calicopy.net import Family, Packed, Prefix
from calicopy.policy import LimitAction
from calicopy.rib import Holder, Path, Rib

FEED_SLICE = 2000  # paths
DECIDE_SLICE = 300
NO_TUNNEL_YET = -1  # this interface index and those below stand for tunnel devices to be made
Steps = Generator[None, None, None]


@dataclass(slots=True)
class Shadow:
    """The parts of a node under another file."""

    node: NodeConfig
    rib: Rib
    fib: Fib
    ipam: Ipam
    names: dict[int, str]


def build(core: Core, node: NodeConfig) -> Generator[None, None, Shadow]:
    """The parts, with all but the paths."""
    rib, fib = rib_for(node), fib_for(node)
    yield
    stored = core.ipam.snapshot(reservations=False)  # who holds what, the RIB knows too
    ipam = ipam_for(node, stored)
    yield
    names = {interface.ifindex: interface.name for interface in core.host.interfaces}
    fib.set_interfaces({interface.ifindex: interface for interface in core.host.interfaces})
    fib.set_next_hops(core.host.facts)
    rib.set_next_hops(core.host.facts)
    tunnels = core.host.tunnels.ifindexes
    for number, one in enumerate(sorted(node.cluster.used_encapsulations, key=lambda used: used.value)):
        ifindex = tunnels.setdefault(one, NO_TUNNEL_YET - number)
        names[ifindex] = node.cluster.encapsulation.device(one)
    fib.set_tunnels(tunnels)
    fib.set_blackholes(ipam.blackholes())
    fib.set_workload_routes(core.fib.workload_routes)
    _set_own(rib, ipam)
    yield
    yield from _set_holders(core, rib, node)
    return Shadow(node, rib, fib, ipam, names)


def _set_own(rib: Rib, ipam: Ipam) -> None:
    own = {prefix for prefix in ipam.announcements() | ipam.blackholes() if not prefix.is_host}
    used = [Prefix.host(record.address) for record in ipam.addresses()]
    for family in Family:
        rib.set_own(
            family,
            [block.packed for block in own if block.family is family],
            [host.packed for host in used if host.family is family],
        )


def _set_holders(core: Core, rib: Rib, node: NodeConfig) -> Steps:
    """Blocks stay reserved for the nodes that the new file has; what it pins goes before."""
    router_ids = {other.name: int(other.router_id) for other in node.nodes if other.router_id is not None}
    known = frozenset(router_ids.values())
    for family in Family:
        held = iter(core.rib.holders(family).items())
        while part := list(islice(held, FEED_SLICE)):
            rib.set_holders(
                family, {block: Holder(holder.router_id) for block, holder in part if holder.router_id in known}
            )
            yield
        pinned = {prefix.packed: name for prefix, name in node.pinned.items() if prefix.family is family}
        rib.set_holders(
            family,
            {
                block: Holder(router_ids[name], pinned=True) if name != node.name and name in router_ids else None
                for block, name in pinned.items()
            },
        )


def feed(shadow: Shadow, core: Core, sessions: Iterable[tuple[str, SessionConfig]]) -> Steps:
    """Give the shadow what these peers have sent, and have it decide."""
    for key, session in sessions:
        peer = core.peers.get(key)
        received = core.rib.received(key)
        if peer is None or peer.opened is None or not any(received.values()):
            continue
        if passes_limit(session, received, beyond=core.rib.beyond_limit(key)):
            continue
        # what is stored beyond a lower limit stays, with WARN
        shadow.rib.peer_up(replace(peer_info(session, int(peer.opened.router_id)), prefix_limit=None))
        for family, items in received.items():
            for first in range(0, len(items), FEED_SLICE):
                for update in _updates(family, items[first : first + FEED_SLICE]):
                    shadow.rib.update(key, update)
                yield
    yield from _decide(shadow)


def passes_limit(session: SessionConfig, received: Mapping[Family, Sized], *, beyond: int) -> bool:
    """Whether the peer has sent more than it may with these settings, so that its session is stopped at once. `beyond`:
    how many of its announcements were not stored.
    """
    most = max((len(items) for items in received.values()), default=0) + min(beyond, 1)
    return most > session.prefix_limit and session.prefix_limit_action is not LimitAction.WARN


def _updates(family: Family, items: Iterable[tuple[Packed | tuple[int, Packed], Path]]) -> Iterable[Update]:
    groups: dict[Path, list[Packed]] = {}
    for key, path in items:
        groups.setdefault(path, []).append(key if isinstance(key, bytes) else key[1])
    for path, prefixes in groups.items():
        ids = [path.path_id] * len(prefixes) if path.path_id else None
        yield Update(
            announced=(NlriBatch(family, prefixes, ids, path.next_hop),), attributes=path.attributes
        )


def _decide(shadow: Shadow) -> Steps:
    more = True
    while more:
        decisions = shadow.rib.decide(DECIDE_SLICE)
        for family, runs in decisions.changes.items():
            shadow.fib.apply_decisions(family, runs)
        more = decisions.more
        yield
    while not shadow.fib.settled:
        shadow.fib.delta(0, 0.0)
        yield

