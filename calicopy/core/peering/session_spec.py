"""From the node's configuration to the sessions that the speaker should hold."""
from __future__ import annotations

from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.seam.speaker import SessionSpec


def session_spec(session: SessionConfig, node: NodeConfig, *, restarted_without_state: bool) -> SessionSpec:
    """The session as the speaker wants it."""
    return SessionSpec(
        name=session.name,
        peer_address=str(session.address),
        local_address=str(session.local_address),
        local_as=session.local_asn,
        peer_as=session.asn,
        router_id=str(node.router_id),
        families=session.families,
        hold_time_s=session.hold_time_s,
        keepalive_s=session.keepalive_s,
        passive=session.passive,
        listen_port=session.listen_port,
        peer_port=session.port,
        md5_password_file=session.password_file,
        outgoing_ttl=session.ttl if session.least_ttl is None else 255,
        incoming_ttl=session.least_ttl,
        add_path_send=session.families if session.add_path else (),
        add_path_receive=session.families if session.add_path else (),
        graceful_restart_time_s=session.graceful_restart_time_s,
        restarted_without_state=restarted_without_state,
    )
