"""`plan`: what another cluster file would change here, before it does.

Theory of operation: sessions follow from the two configurations alone (`config.diff`). What is announced and what the
kernel holds is computed twice with the same code, once as it is and once by a shadow of the RIB, IPAM and the FIB under
the new file (`shadow`), and compared. A session that is new brings nothing, since nobody knows what; the plan says so.
`plan` is a generator that yields between slices of some milliseconds and returns the view.
"""
from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from ipaddress import IPv4Address
from itertools import islice, zip_longest

from calicopy.bgp import format_community, format_large_community
from calicopy.config.diff import SessionChange, SessionChanges, diff_sessions, file_key
from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import NodeConfig
from calicopy.core.change import encapsulation, nat
from calicopy.core.change.shadow import Shadow, build, feed, passes_limit
from calicopy.core.core import Core
from calicopy.core.exports import Exports
from calicopy.core.peering.linger import kept, may_linger
from calicopy.core.peering.peer import Peer
from calicopy.core.views import (
    AnnouncementPlan,
    Effect,
    FieldChange,
    PlanView,
    RoutePlan,
    SessionEffect,
    SessionPlan,
)
from calicopy.fib import RouteTarget, format_target
from calicopy.net import Family, Packed, Prefix
from calicopy.policy import AdvertiseScope, Filter
from calicopy.rib import ExportTarget, OutAttributes, OutPeer, PathState, Rib

LISTED = 1000
COMPARE_SLICE = 2500
EXPORT_SLICE = 100
PEERS_SLICE = 100
ANYBODY = OutPeer("anybody", IPv4Address(0), -1)
"""A peer that nothing came from."""
Pair = tuple[OutAttributes | None, OutAttributes | None]
AT_RUN_TIME = frozenset({"log_level", "resync_interval_s"})
"""The settings of the agent that can change while it runs."""


def needs_restart(old: NodeConfig, new: NodeConfig) -> tuple[str, ...]:
    """What of `new` cannot be had at run time, one sentence each."""
    before, after = old.cluster.agent, new.cluster.agent
    found = [
        f"agent.{name}: {_text(getattr(before, name))} becomes {_text(getattr(after, name))}"
        for name in type(before).model_fields
        if name not in AT_RUN_TIME and getattr(before, name) != getattr(after, name)
    ]
    if old.addresses != new.addresses:
        found.append(f"address of this node: {_text(old.addresses)} becomes {_text(new.addresses)}")
    if old.router_id != new.router_id:
        found.append(f"router_id of this node: {old.router_id} becomes {new.router_id}")
    return tuple(found)


def plan(core: Core, new: NodeConfig) -> Generator[None, None, PlanView]:
    """What changes when `new`, which must be ready, takes the place of what runs."""
    changes = diff_sessions(core.node, new)
    restarts = needs_restart(core.node, new)
    sessions = list(_sessions(core, new, changes))
    yield
    shadow = yield from build(core, new)
    peers = _peers(core, new)
    yield
    yield from feed(shadow, core, [(key, peer.configured) for key, peer in peers.items()])
    announcements = yield from _announcements(core, shadow, peers)
    routes, routes_total = yield from _routes(core, shadow)
    return PlanView(
        sessions=tuple(sessions[:LISTED]),
        announcements=tuple(announcements[:LISTED]),
        routes=tuple(routes),
        sessions_total=len(sessions),
        announcements_total=len(announcements),
        routes_total=routes_total,
        restarts=restarts,
        notes=(*_notes(new, changes, peers), *_notes_of_files(core.node.cluster, new.cluster)),
    )


def _peers(core: Core, new: NodeConfig) -> dict[str, Peer]:
    """The peers right after `new` was applied, by key: those of the file, and those that linger."""
    peers: dict[str, Peer] = {}
    for session in new.sessions:
        key = str(session.address)
        known = core.peers.get(key)
        peers[key] = (
            Peer(session) if known is None else replace(known, configured=kept(known, session, new.mesh_linger_s))
        )
    names = frozenset(node.name for node in new.nodes)
    dropped = ((key, peer) for key, peer in core.peers.items() if key not in peers)
    peers.update((key, peer) for key, peer in dropped if may_linger(peer, names, new.mesh_linger_s))
    return peers


def _notes(new: NodeConfig, changes: SessionChanges, peers: Mapping[str, Peer]) -> Iterator[str]:
    if changes.added:
        names = _few([session.name for session in changes.added.values()])
        yield f"what {names} will bring is not known before the sessions are up"
    both = ((peers[str(session.address)].configured, session) for session in new.sessions)
    reflected = [session.name for kept_for_now, session in both if kept_for_now != session]
    if reflected:
        yield f"what is reflected to {_few(reflected)} is withdrawn after {new.mesh_linger_s:g} s (mesh_linger)"


def _notes_of_files(old: ClusterConfig, new: ClusterConfig) -> Iterator[str]:
    yield from encapsulation.notes(old, new)
    yield from nat.notes(old, new)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


# -- sessions ---------------------------------------------------------------------------------------------------


def _sessions(core: Core, new: NodeConfig, changes: SessionChanges) -> Iterator[SessionPlan]:
    for session in changes.added.values():
        peer = core.peers.get(str(session.address))
        note = "stays: it was lingering" if peer is not None else ""
        yield SessionPlan(session.name, session.address, SessionEffect.ADDED, note=note)
    names = frozenset(node.name for node in new.nodes)
    for session in changes.removed.values():
        peer = core.peers.get(str(session.address))
        if peer is not None and may_linger(peer, names, new.mesh_linger_s):
            note = f"stays until its prefixes have another way, {new.mesh_linger_s:g} s at least (mesh_linger)"
            yield SessionPlan(session.name, session.address, SessionEffect.LINGERING, note=note)
        else:
            yield SessionPlan(session.name, session.address, SessionEffect.REMOVED)
    for change in changes.reset.values():
        fields = tuple(_fields(change, core.node, new))
        yield SessionPlan(change.new.name, change.new.address, SessionEffect.RESET, fields, _stops(core, change))
    for change in changes.changed.values():
        fields = tuple(_fields(change, core.node, new))
        yield SessionPlan(change.new.name, change.new.address, SessionEffect.CHANGED, fields, _stops(core, change))


def _stops(core: Core, change: SessionChange) -> str:
    """What is said of a session that another limit ends."""
    limited = not {"prefix_limit", "prefix_limit_action"}.isdisjoint(change.in_place)
    key = str(change.new.address)
    stops = limited and passes_limit(change.new, core.rib.received(key), beyond=core.rib.beyond_limit(key))
    return "is stopped: it has sent more prefixes than its limit" if stops else ""


def _fields(change: SessionChange, old: NodeConfig, new: NodeConfig) -> Iterator[FieldChange]:
    for name in (*change.resets, *change.in_place):
        before, after = (
            (old.router_id, new.router_id)
            if name == "router_id"
            else (getattr(change.old, name), getattr(change.new, name))
        )
        was, becomes = ("off" if name == "bfd" and value is None else _text(value) for value in (before, after))
        yield FieldChange(file_key(name), was, becomes, resets=name in change.resets)


def _text(value: object) -> str:
    """A setting as text."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Filter():
            return value.name
        case enum.Enum():
            return str(value.value)
        case tuple():
            return ", ".join(map(_text, value)) or "-"
        case Family():
            return str(value)
    return str(value)


# -- announcements ----------------------------------------------------------------------------------------------


def _announcements(
    core: Core, shadow: Shadow, peers: dict[str, Peer]
) -> Generator[None, None, list[AnnouncementPlan]]:
    """Those to the peers that there are now and then: once for all peers that hear the same."""
    old = _exports(core, core.node, core.rib, core.peers, core.exports.prefixes)
    yield
    new = _exports(core, shadow.node, shadow.rib, peers, shadow.ipam.announcements())
    names = {key: peer.configured.name for key, peer in {**core.peers, **peers}.items()}
    groups: dict[tuple[Family, ExportTarget | None, ExportTarget | None], list[str]] = {}
    for number, (key, name) in enumerate(names.items()):
        if number % PEERS_SLICE == 0:
            yield
        for family in Family:
            groups.setdefault((family, old.target(key, family), new.target(key, family)), []).append(name)
    found: list[AnnouncementPlan] = []
    for (family, before, after), hear in groups.items():
        if before is None and after is None:
            continue
        learns = any(target is not None and target.scope is AdvertiseScope.ALL for target in (before, after))
        prefixes = {prefix.packed for prefix in old.prefixes | new.prefixes if prefix.family is family}
        if learns:
            prefixes.update(core.rib.prefixes(family), shadow.rib.prefixes(family))
        rows: dict[Pair, list[Prefix]] = {}
        ordered = iter(prefixes)
        while part := list(islice(ordered, EXPORT_SLICE)):
            yield
            told = {} if before is None else old.out.desired(before, ANYBODY, among=part)
            tell = {} if after is None else new.out.desired(after, ANYBODY, among=part)
            for packed in part:
                if (paths := (told.get(packed, ()), tell.get(packed, ())))[0] != paths[1]:
                    for pair in _differences(*paths):
                        rows.setdefault(pair, []).append(Prefix(family, packed))
        changes = iter(rows.items())
        while some := list(islice(changes, PEERS_SLICE)):
            yield
            found += [_announcement(tuple(hear), pair, prefixes) for pair, prefixes in some]
    return found


def _differences(before: tuple[OutAttributes, ...], after: tuple[OutAttributes, ...]) -> Iterator[Pair]:
    """The paths of a prefix that go, come, or take the place of another; their order is not announced."""
    old, new = Counter(before), Counter(after)
    return zip_longest((old - new).elements(), (new - old).elements())


def _exports(core: Core, node: NodeConfig, rib: Rib, peers: dict[str, Peer], own: frozenset[Prefix]) -> Exports:
    """What peers hear under a file."""
    exports = Exports(node, rib, peers, emit=lambda _: None)
    exports.drain = core.drainer.phase
    exports.set_prefixes(own)
    return exports


def _announcement(
    peers: tuple[str, ...], pair: Pair, prefixes: list[Prefix]
) -> AnnouncementPlan:
    before, after = pair
    shown = tuple(sorted(prefixes)[:LISTED])
    return AnnouncementPlan(peers, _effect(before, after), shown, _attributes(before), _attributes(after))


def _attributes(out: OutAttributes | None) -> str:
    if out is None:
        return ""
    attributes = out.attributes
    parts = [f"next hop {out.next_hop}"]
    if attributes.as_path.segments:
        parts.append(f"AS path {attributes.as_path}")
    if attributes.local_pref is not None:
        parts.append(f"local-pref {attributes.local_pref}")
    if attributes.med is not None:
        parts.append(f"med {attributes.med}")
    communities = [*map(format_community, attributes.communities)]
    communities += map(format_large_community, attributes.large_communities)
    if communities:
        parts.append("communities " + " ".join(communities))
    if attributes.originator_id is not None:
        parts.append(f"originator {attributes.originator_id}")
    return ", ".join(parts)


# -- kernel routes ----------------------------------------------------------------------------------------------


def _routes(core: Core, shadow: Shadow) -> Generator[None, None, tuple[list[RoutePlan], int]]:
    """The first of them, and how many there are."""
    found: list[RoutePlan] = []
    total = 0
    for family in Family:
        before, after = core.fib.desired(family), shadow.fib.desired(family)
        same = _Same(core, shadow)
        keys = iter(list({**before, **after}))
        shown: list[Packed] = []
        while part := list(islice(keys, COMPARE_SLICE)):
            differ = [packed for packed in part if not same(before.get(packed), after.get(packed))]
            total += len(differ)
            shown = nsmallest(LISTED - len(found), [*shown, *differ], key=lambda packed: (packed[1:], packed[0]))
            yield
        found += [
            _route(shadow, Prefix(family, packed), same.led(core, before.get(packed)), after.get(packed))
            for packed in shown
        ]
        yield
    return found, total


class _Same:
    """Whether two targets lead to the same place: nexthop objects have ids of their own in each FIB, or are not there.

    Targets are few, and each is one object of its FIB: a pair of them is compared once.
    """

    def __init__(self, core: Core, shadow: Shadow) -> None:
        self._core, self._shadow = core, shadow
        self._known: dict[tuple[int, int], tuple[bool, object]] = {}  # with the pair, so that its ids stay its own

    def __call__(self, before: RouteTarget | None, after: RouteTarget | None) -> bool:
        key = (id(before), id(after))
        if key not in self._known:
            self._known[key] = self.led(self._core, before) == self.led(self._shadow, after), (before, after)
        return self._known[key][0]

    @staticmethod
    def led(where: Core | Shadow, target: RouteTarget | None) -> RouteTarget | None:
        """What is behind the object that the target names."""
        return None if target is None else replace(where.fib.led(target), next_hop_id=0)


def _effect(before: object, after: object) -> Effect:
    if before is None:
        return Effect.ADDED
    return Effect.REMOVED if after is None else Effect.CHANGED


def _route(shadow: Shadow, prefix: Prefix, before: RouteTarget | None, after: RouteTarget | None) -> RoutePlan:
    return RoutePlan(
        prefix,
        _effect(before, after),
        "" if before is None else format_target(before, shadow.names),
        "" if after is None else format_target(after, shadow.names),
        _why(shadow, prefix) if after is None else "",
    )


def _why(shadow: Shadow, prefix: Prefix) -> str:
    """Why the prefix is not in the kernel under the new file."""
    status = shadow.fib.status(prefix)
    if status is not None and status.reason is not None:
        return status.reason.message
    for view in shadow.rib.lookup(prefix.family, prefix.packed):
        if view.state is PathState.REJECTED and view.reason is not None:
            return view.reason.text if view.rule is None else f"{view.reason.text}: {view.rule}"
    return "no session brings it any more"
