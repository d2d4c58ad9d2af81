"""What a change of configuration means for the sessions of a node.

Theory of operation: sessions are told apart by the peer's address, as the speaker does. What a session's OPEN and
its connection are made of can only change with a reset; everything else (policy, limits, reflection, keepalives)
changes in place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calicopy.config.nodeconfig import NodeConfig, SessionConfig
from calicopy.net import IPAddress

RESET_FIELDS = (
    "local_address", "asn", "local_asn", "families", "hold_time_s", "graceful_restart_time_s",
    "password_file", "ttl", "least_ttl", "port", "listen_port", "passive", "add_path",
)  # fmt: skip
"""The fields of SessionConfig that reset the session when they change, and it alone."""
IN_PLACE_FIELDS = (
    "name", "node", "mesh", "client", "advertise", "next_hop", "next_hops", "allow_own_as", "trust_owner",
    "prefix_limit", "prefix_limit_action", "prefix_limit_restart_s", "flush_on_hold_expiry", "keepalive_s",
    "import_filters", "export_filters", "bfd",
)  # fmt: skip
"""The fields of SessionConfig that change while the session stays."""
ROUTER_ID = "router_id"
"""Of the node, not of a session: a change resets every session."""

FILE_KEYS = {
    "local_address": "source_address",
    "asn": "as",
    "local_asn": "local_as",
    "ttl": "multihop",
    "least_ttl": "ttl_security",
    "client": "route_reflector_client",
    "flush_on_hold_expiry": "on_hold_expiry",
    "import_filters": "import",
    "export_filters": "export",
}
"""The fields that the cluster file calls otherwise."""


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A session that both configurations have, and that is not the same in them."""

    old: SessionConfig
    new: SessionConfig
    resets: tuple[str, ...]
    """Names of the fields that force a reset (RESET_FIELDS, ROUTER_ID), in that order. Empty: it changes in place."""
    in_place: tuple[str, ...]
    """Names of the other fields that change."""


@dataclass(frozen=True, slots=True)
class SessionChanges:
    """What becomes of each session, by the peer's address, in the order of the configuration that has it. Sessions that
    stay as they are are in none."""

    added: Mapping[IPAddress, SessionConfig]
    removed: Mapping[IPAddress, SessionConfig]
    reset: Mapping[IPAddress, SessionChange]
    """Those that end and come up anew; what changes in place comes along."""
    changed: Mapping[IPAddress, SessionChange]
    """Those that stay up."""

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.added or self.removed or self.reset or self.changed)


def diff_sessions(old: NodeConfig, new: NodeConfig) -> SessionChanges:
    """What becomes of the sessions of `old` when `new` takes its place. A node that is not ready has no sessions."""
    before = {session.address: session for session in old.sessions}
    after = {session.address: session for session in new.sessions}
    always = (ROUTER_ID,) if old.router_id != new.router_id else ()
    reset: dict[IPAddress, SessionChange] = {}
    changed: dict[IPAddress, SessionChange] = {}
    for address, session in after.items():
        known = before.get(address)
        if known is None or (not always and known == session):
            continue
        resets = (*_differ(known, session, RESET_FIELDS), *always)
        (reset if resets else changed)[address] = SessionChange(
            known, session, resets, _differ(known, session, IN_PLACE_FIELDS)
        )
    return SessionChanges(
        added={address: session for address, session in after.items() if address not in before},
        removed={address: session for address, session in before.items() if address not in after},
        reset=reset,
        changed=changed,
    )


def file_key(field: str) -> str:
    """What the cluster file calls a field of SessionConfig or the node: `as` for `asn`."""
    return FILE_KEYS.get(field, field)


def _differ(old: SessionConfig, new: SessionConfig, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if getattr(old, name) != getattr(new, name))
