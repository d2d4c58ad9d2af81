"""`plan`: what another cluster file would change here, before it does.

Theory of operation: sessions follow from the two configurations alone (`config.diff`). What is announced and what the
kernel holds is computed twice with the same code, once as it is and once by a shadow of the RIB, IPAM and the FIB under
the new file (`shadow`), and compared. A session that is new brings nothing, since nobody knows what; the plan says so.
`plan` is a generator that yields between slices of some milliseconds and returns the view.
"""
from __future__ import annotations

import enum
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from heapq import nsmallest
from itertools import islice

from calicopy.bgp import format_community, format_large_community
from calicopy.config.diff import SessionChange, SessionChanges, diff_sessions, file_key
from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.core.core import Core
from calicopy.core.exports import Exports
from calicopy.core.peers import Peer
from calicopy.core.plan_views import (
    AnnouncementPlan,
    Effect,
    FieldChange,
    PlanView,
    RoutePlan,
    SessionEffect,
    SessionPlan,
)
from calicopy.core.shadow import Shadow, Steps, build, feed
from calicopy.fib import RouteTarget, format_target
from calicopy.net import Family, Packed, Prefix
from calicopy.policy import Filter
from calicopy.rib import OutAttributes, PathState

LISTED = 1000
COMPARE_SLICE = 5000
PEERS_SLICE = 50
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
    leaving = {str(one.address) for one in sessions if one.effect is SessionEffect.LEAVING}
    sources = [(str(session.address), session) for session in new.sessions]
    sources += [(key, peer.configured) for key, peer in core.peers.items() if key in leaving]
    yield from feed(shadow, core, sources)
    announcements: list[AnnouncementPlan] = []
    yield from _announcements(core, shadow, announcements)
    routes, routes_total = yield from _routes(core, shadow)
    return PlanView(
        sessions=tuple(sessions[:LISTED]),
        announcements=tuple(announcements[:LISTED]),
        routes=tuple(routes),
        sessions_total=len(sessions),
        announcements_total=len(announcements),
        routes_total=routes_total,
        restarts=restarts,
        notes=tuple(_notes(changes)),
    )


def _notes(changes: SessionChanges) -> Iterator[str]:
    if changes.added:
        names = ", ".join(session.name for session in islice(changes.added.values(), 5))
        more = f" and {len(changes.added) - 5} more" if len(changes.added) > 5 else ""
        yield f"what {names}{more} will bring is not known before the sessions are up"


# -- sessions ---------------------------------------------------------------------------------------------------


def _sessions(core: Core, new: NodeConfig, changes: SessionChanges) -> Iterator[SessionPlan]:
    for session in changes.added.values():
        peer = core.peers.get(str(session.address))
        note = "stays: it was leaving" if peer is not None else ""
        yield SessionPlan(session.name, session.address, SessionEffect.ADDED, note=note)
    names = {node.name for node in new.nodes}
    for session in changes.removed.values():
        if session.node in names and new.mesh_linger_s and _is_alive(core, session):
            note = f"stays until its prefixes have another way, {new.mesh_linger_s:g} s at least (mesh_linger)"
            yield SessionPlan(session.name, session.address, SessionEffect.LEAVING, note=note)
        else:
            yield SessionPlan(session.name, session.address, SessionEffect.REMOVED)
    for change in changes.reset.values():
        fields = tuple(_fields(change, core.node, new))
        yield SessionPlan(change.new.name, change.new.address, SessionEffect.RESET, fields)
    for change in changes.changed.values():
        fields = tuple(_fields(change, core.node, new))
        yield SessionPlan(change.new.name, change.new.address, SessionEffect.CHANGED, fields)


def _is_alive(core: Core, session: SessionConfig) -> bool:
    peer = core.peers.get(str(session.address))
    return peer is not None and (peer.is_up or peer.stale_until is not None)


def _fields(change: SessionChange, old: NodeConfig, new: NodeConfig) -> Iterator[FieldChange]:
    for name in (*change.resets, *change.in_place):
        before, after = (
            (old.router_id, new.router_id)
            if name == "router_id"
            else (getattr(change.old, name), getattr(change.new, name))
        )
        yield FieldChange(file_key(name), _text(before), _text(after), resets=name in change.resets)


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


def _announcements(core: Core, shadow: Shadow, found: list[AnnouncementPlan]) -> Steps:
    """Those to the peers of both files, and to those that come and go."""
    peers: dict[str, Peer] = {}
    for session in shadow.node.sessions:
        key = str(session.address)
        known = core.peers.get(key)
        peers[key] = Peer(session) if known is None else replace(known, configured=session, later=None)
    exports = Exports(shadow.node, shadow.rib, peers, emit=lambda _: None)
    exports.drain = core.drainer.phase
    exports.set_prefixes(shadow.ipam.announcements())
    yield
    ordered = {**dict.fromkeys(peers), **dict.fromkeys(core.peers)}
    for number, key in enumerate(ordered):
        peer = peers.get(key) or core.peers[key]
        for family in Family:
            before, after = core.exports.desired(key, family), exports.desired(key, family)
            found += _announced(peer.configured, family, before, after)
        if number % PEERS_SLICE == 0:
            yield


def _announced(
    session: SessionConfig,
    family: Family,
    before: Mapping[Packed, OutAttributes],
    after: Mapping[Packed, OutAttributes],
) -> Iterator[AnnouncementPlan]:
    groups: dict[tuple[OutAttributes | None, OutAttributes | None], list[Prefix]] = {}
    for packed in {**before, **after}:
        pair = before.get(packed), after.get(packed)
        if pair[0] != pair[1]:
            groups.setdefault(pair, []).append(Prefix(family, packed))
    for (old, new), prefixes in groups.items():
        shown = tuple(sorted(prefixes)[:LISTED])
        yield AnnouncementPlan(
            session.name, session.address, _effect(old, new), shown, _attributes(old), _attributes(new)
        )


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
        keys = iter(list({**before, **after}))
        differ: list[Packed] = []
        while part := list(islice(keys, COMPARE_SLICE)):
            differ += [packed for packed in part if before.get(packed) != after.get(packed)]
            yield
        total += len(differ)
        shown = nsmallest(LISTED - len(found), differ, key=lambda packed: (packed[1:], packed[0]))
        found += [_route(shadow, Prefix(family, packed), before.get(packed), after.get(packed)) for packed in shown]
        yield
    return found, total


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
