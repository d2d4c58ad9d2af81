"""From the node's configuration to the sessions that the speaker should hold."""
from __future__ import annotations

from calicopy.config.resolve import NodeConfig, SessionConfig
from calicopy.seam.speaker import SessionSpec


def session_spec(session: SessionConfig, node: NodeConfig, *, restarted_without_state: bool) -> SessionSpec:
    """The session as the speaker wants it. eBGP peers are taken to be on the link (TTL 1, RFC 4271 section 5.1.3)."""
    return SessionSpec(
        name=session.name,
        peer_address=str(session.address),
        local_address=str(session.local_address),
        local_as=session.local_asn,
        peer_as=session.asn,
        router_id=str(node.router_id),
        families=session.families,
        hold_time_s=session.hold_time_s,
        passive=session.passive,
        listen_port=node.cluster.bgp.listen_port,
        peer_port=session.port,
        md5_password_file=session.password_file,
        graceful_restart_time_s=session.graceful_restart_time_s,
        restarted_without_state=restarted_without_state,
    )
