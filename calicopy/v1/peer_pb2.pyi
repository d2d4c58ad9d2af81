import datetime

from calicopy.v1 import types_pb2 as _types_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_IDLE: _ClassVar[SessionState]
    SESSION_STATE_CONNECT: _ClassVar[SessionState]
    SESSION_STATE_ACTIVE: _ClassVar[SessionState]
    SESSION_STATE_OPEN_SENT: _ClassVar[SessionState]
    SESSION_STATE_OPEN_CONFIRM: _ClassVar[SessionState]
    SESSION_STATE_ESTABLISHED: _ClassVar[SessionState]

class PeerKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_KIND_UNSPECIFIED: _ClassVar[PeerKind]
    PEER_KIND_MESH: _ClassVar[PeerKind]
    PEER_KIND_CONFIGURED: _ClassVar[PeerKind]

class BfdState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BFD_STATE_UNSPECIFIED: _ClassVar[BfdState]
    BFD_STATE_ADMIN_DOWN: _ClassVar[BfdState]
    BFD_STATE_DOWN: _ClassVar[BfdState]
    BFD_STATE_INIT: _ClassVar[BfdState]
    BFD_STATE_UP: _ClassVar[BfdState]

class BfdEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BFD_EFFECT_UNSPECIFIED: _ClassVar[BfdEffect]
    BFD_EFFECT_IGNORED: _ClassVar[BfdEffect]
    BFD_EFFECT_UP: _ClassVar[BfdEffect]
    BFD_EFFECT_DOWN: _ClassVar[BfdEffect]
    BFD_EFFECT_DAMPED: _ClassVar[BfdEffect]

class PeerRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_ROLE_UNSPECIFIED: _ClassVar[PeerRole]
    PEER_ROLE_MESH: _ClassVar[PeerRole]
    PEER_ROLE_CLIENT: _ClassVar[PeerRole]
    PEER_ROLE_NON_CLIENT: _ClassVar[PeerRole]
    PEER_ROLE_REFLECTOR: _ClassVar[PeerRole]
    PEER_ROLE_INTERNAL: _ClassVar[PeerRole]
    PEER_ROLE_EXTERNAL: _ClassVar[PeerRole]
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_IDLE: SessionState
SESSION_STATE_CONNECT: SessionState
SESSION_STATE_ACTIVE: SessionState
SESSION_STATE_OPEN_SENT: SessionState
SESSION_STATE_OPEN_CONFIRM: SessionState
SESSION_STATE_ESTABLISHED: SessionState
PEER_KIND_UNSPECIFIED: PeerKind
PEER_KIND_MESH: PeerKind
PEER_KIND_CONFIGURED: PeerKind
BFD_STATE_UNSPECIFIED: BfdState
BFD_STATE_ADMIN_DOWN: BfdState
BFD_STATE_DOWN: BfdState
BFD_STATE_INIT: BfdState
BFD_STATE_UP: BfdState
BFD_EFFECT_UNSPECIFIED: BfdEffect
BFD_EFFECT_IGNORED: BfdEffect
BFD_EFFECT_UP: BfdEffect
BFD_EFFECT_DOWN: BfdEffect
BFD_EFFECT_DAMPED: BfdEffect
PEER_ROLE_UNSPECIFIED: PeerRole
PEER_ROLE_MESH: PeerRole
PEER_ROLE_CLIENT: PeerRole
PEER_ROLE_NON_CLIENT: PeerRole
PEER_ROLE_REFLECTOR: PeerRole
PEER_ROLE_INTERNAL: PeerRole
PEER_ROLE_EXTERNAL: PeerRole

class RefreshPeerRequest(_message.Message):
    __slots__ = ("peer", "inbound", "outbound")
    PEER_FIELD_NUMBER: _ClassVar[int]
    INBOUND_FIELD_NUMBER: _ClassVar[int]
    OUTBOUND_FIELD_NUMBER: _ClassVar[int]
    peer: str
    inbound: bool
    outbound: bool
    def __init__(self, peer: _Optional[str] = ..., inbound: _Optional[bool] = ..., outbound: _Optional[bool] = ...) -> None: ...

class RefreshPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class ResetPeerRequest(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    def __init__(self, peer: _Optional[str] = ...) -> None: ...

class ResetPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class ListPeersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPeersResponse(_message.Message):
    __slots__ = ("peers",)
    PEERS_FIELD_NUMBER: _ClassVar[int]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    def __init__(self, peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ...) -> None: ...

class GetPeerRequest(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    def __init__(self, peer: _Optional[str] = ...) -> None: ...

class GetPeerResponse(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: Peer
    def __init__(self, peer: _Optional[_Union[Peer, _Mapping]] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("name", "address", "asn", "local_asn", "local_address", "kind", "state", "state_since", "last_error", "last_error_at", "router_id", "passive", "hold_time_s", "capabilities", "families", "updates_received", "sessions_established", "sessions_lost", "graceful_restart", "graceful_restart_time_s", "malformed_updates", "role", "stopped", "stop_code", "import_filters", "export_filters", "advertise", "prefix_limit_action", "timers", "negotiated", "last_notification", "beyond_limit", "notifications_received", "notifications_sent", "refreshes_received", "refreshes_sent", "end_of_rib_held", "lingering", "tunnels", "bfd")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ASN_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ASN_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_AT_FIELD_NUMBER: _ClassVar[int]
    ROUTER_ID_FIELD_NUMBER: _ClassVar[int]
    PASSIVE_FIELD_NUMBER: _ClassVar[int]
    HOLD_TIME_S_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    FAMILIES_FIELD_NUMBER: _ClassVar[int]
    UPDATES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_ESTABLISHED_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_LOST_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_RESTART_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_RESTART_TIME_S_FIELD_NUMBER: _ClassVar[int]
    MALFORMED_UPDATES_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    STOP_CODE_FIELD_NUMBER: _ClassVar[int]
    IMPORT_FILTERS_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FILTERS_FIELD_NUMBER: _ClassVar[int]
    ADVERTISE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LIMIT_ACTION_FIELD_NUMBER: _ClassVar[int]
    TIMERS_FIELD_NUMBER: _ClassVar[int]
    NEGOTIATED_FIELD_NUMBER: _ClassVar[int]
    LAST_NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    BEYOND_LIMIT_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATIONS_SENT_FIELD_NUMBER: _ClassVar[int]
    REFRESHES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    REFRESHES_SENT_FIELD_NUMBER: _ClassVar[int]
    END_OF_RIB_HELD_FIELD_NUMBER: _ClassVar[int]
    LINGERING_FIELD_NUMBER: _ClassVar[int]
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    BFD_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    asn: int
    local_asn: int
    local_address: str
    kind: PeerKind
    state: SessionState
    state_since: _timestamp_pb2.Timestamp
    last_error: str
    last_error_at: _timestamp_pb2.Timestamp
    router_id: str
    passive: bool
    hold_time_s: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    families: _containers.RepeatedCompositeFieldContainer[PeerFamily]
    updates_received: int
    sessions_established: int
    sessions_lost: int
    graceful_restart: bool
    graceful_restart_time_s: int
    malformed_updates: int
    role: PeerRole
    stopped: str
    stop_code: str
    import_filters: _containers.RepeatedScalarFieldContainer[str]
    export_filters: _containers.RepeatedScalarFieldContainer[str]
    advertise: str
    prefix_limit_action: str
    timers: PeerTimers
    negotiated: PeerCapabilities
    last_notification: PeerNotification
    beyond_limit: int
    notifications_received: int
    notifications_sent: int
    refreshes_received: int
    refreshes_sent: int
    end_of_rib_held: bool
    lingering: str
    tunnels: _containers.RepeatedCompositeFieldContainer[_types_pb2.TunnelAnswer]
    bfd: Bfd
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., asn: _Optional[int] = ..., local_asn: _Optional[int] = ..., local_address: _Optional[str] = ..., kind: _Optional[_Union[PeerKind, str]] = ..., state: _Optional[_Union[SessionState, str]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., last_error_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., router_id: _Optional[str] = ..., passive: _Optional[bool] = ..., hold_time_s: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., families: _Optional[_Iterable[_Union[PeerFamily, _Mapping]]] = ..., updates_received: _Optional[int] = ..., sessions_established: _Optional[int] = ..., sessions_lost: _Optional[int] = ..., graceful_restart: _Optional[bool] = ..., graceful_restart_time_s: _Optional[int] = ..., malformed_updates: _Optional[int] = ..., role: _Optional[_Union[PeerRole, str]] = ..., stopped: _Optional[str] = ..., stop_code: _Optional[str] = ..., import_filters: _Optional[_Iterable[str]] = ..., export_filters: _Optional[_Iterable[str]] = ..., advertise: _Optional[str] = ..., prefix_limit_action: _Optional[str] = ..., timers: _Optional[_Union[PeerTimers, _Mapping]] = ..., negotiated: _Optional[_Union[PeerCapabilities, _Mapping]] = ..., last_notification: _Optional[_Union[PeerNotification, _Mapping]] = ..., beyond_limit: _Optional[int] = ..., notifications_received: _Optional[int] = ..., notifications_sent: _Optional[int] = ..., refreshes_received: _Optional[int] = ..., refreshes_sent: _Optional[int] = ..., end_of_rib_held: _Optional[bool] = ..., lingering: _Optional[str] = ..., tunnels: _Optional[_Iterable[_Union[_types_pb2.TunnelAnswer, _Mapping]]] = ..., bfd: _Optional[_Union[Bfd, _Mapping]] = ...) -> None: ...

class Bfd(_message.Message):
    __slots__ = ("effect", "reason", "out_of_use_since", "out_of_use_until", "next_hops", "session")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_USE_SINCE_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_USE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOPS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    effect: BfdEffect
    reason: str
    out_of_use_since: _timestamp_pb2.Timestamp
    out_of_use_until: _timestamp_pb2.Timestamp
    next_hops: _containers.RepeatedScalarFieldContainer[str]
    session: BfdSession
    def __init__(self, effect: _Optional[_Union[BfdEffect, str]] = ..., reason: _Optional[str] = ..., out_of_use_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., out_of_use_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_hops: _Optional[_Iterable[str]] = ..., session: _Optional[_Union[BfdSession, _Mapping]] = ...) -> None: ...

class BfdSession(_message.Message):
    __slots__ = ("state", "state_since", "remote_state", "diagnostic", "remote_diagnostic", "local_discriminator", "remote_discriminator", "remote_independent", "hop", "ups", "downs", "heard", "tx_interval_us", "detection_time_us", "remote_detect_mult", "holding", "sent", "received", "dropped")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    REMOTE_STATE_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    REMOTE_DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    LOCAL_DISCRIMINATOR_FIELD_NUMBER: _ClassVar[int]
    REMOTE_DISCRIMINATOR_FIELD_NUMBER: _ClassVar[int]
    REMOTE_INDEPENDENT_FIELD_NUMBER: _ClassVar[int]
    HOP_FIELD_NUMBER: _ClassVar[int]
    UPS_FIELD_NUMBER: _ClassVar[int]
    DOWNS_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    TX_INTERVAL_US_FIELD_NUMBER: _ClassVar[int]
    DETECTION_TIME_US_FIELD_NUMBER: _ClassVar[int]
    REMOTE_DETECT_MULT_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    state: BfdState
    state_since: _timestamp_pb2.Timestamp
    remote_state: BfdState
    diagnostic: str
    remote_diagnostic: str
    local_discriminator: int
    remote_discriminator: int
    remote_independent: bool
    hop: str
    ups: int
    downs: int
    heard: bool
    tx_interval_us: int
    detection_time_us: int
    remote_detect_mult: int
    holding: bool
    sent: int
    received: int
    dropped: _containers.ScalarMap[str, int]
    def __init__(self, state: _Optional[_Union[BfdState, str]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., remote_state: _Optional[_Union[BfdState, str]] = ..., diagnostic: _Optional[str] = ..., remote_diagnostic: _Optional[str] = ..., local_discriminator: _Optional[int] = ..., remote_discriminator: _Optional[int] = ..., remote_independent: _Optional[bool] = ..., hop: _Optional[str] = ..., ups: _Optional[int] = ..., downs: _Optional[int] = ..., heard: _Optional[bool] = ..., tx_interval_us: _Optional[int] = ..., detection_time_us: _Optional[int] = ..., remote_detect_mult: _Optional[int] = ..., holding: _Optional[bool] = ..., sent: _Optional[int] = ..., received: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ...) -> None: ...

class PeerTimers(_message.Message):
    __slots__ = ("hold_time_configured_s", "hold_time_offered_s", "hold_time_s", "keepalive_s", "stale_until", "stopped_until", "lingering_since")
    HOLD_TIME_CONFIGURED_S_FIELD_NUMBER: _ClassVar[int]
    HOLD_TIME_OFFERED_S_FIELD_NUMBER: _ClassVar[int]
    HOLD_TIME_S_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_S_FIELD_NUMBER: _ClassVar[int]
    STALE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    STOPPED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    LINGERING_SINCE_FIELD_NUMBER: _ClassVar[int]
    hold_time_configured_s: int
    hold_time_offered_s: int
    hold_time_s: int
    keepalive_s: int
    stale_until: _timestamp_pb2.Timestamp
    stopped_until: _timestamp_pb2.Timestamp
    lingering_since: _timestamp_pb2.Timestamp
    def __init__(self, hold_time_configured_s: _Optional[int] = ..., hold_time_offered_s: _Optional[int] = ..., hold_time_s: _Optional[int] = ..., keepalive_s: _Optional[int] = ..., stale_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stopped_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lingering_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PeerCapabilities(_message.Message):
    __slots__ = ("four_octet_as", "route_refresh", "enhanced_route_refresh", "extended_message", "extended_next_hop", "add_path_send", "add_path_receive", "restart_ours", "restart_theirs", "unknown", "other_families", "host_name")
    FOUR_OCTET_AS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_REFRESH_FIELD_NUMBER: _ClassVar[int]
    ENHANCED_ROUTE_REFRESH_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_NEXT_HOP_FIELD_NUMBER: _ClassVar[int]
    ADD_PATH_SEND_FIELD_NUMBER: _ClassVar[int]
    ADD_PATH_RECEIVE_FIELD_NUMBER: _ClassVar[int]
    RESTART_OURS_FIELD_NUMBER: _ClassVar[int]
    RESTART_THEIRS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    OTHER_FAMILIES_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    four_octet_as: bool
    route_refresh: bool
    enhanced_route_refresh: bool
    extended_message: bool
    extended_next_hop: bool
    add_path_send: _containers.RepeatedScalarFieldContainer[_types_pb2.Family]
    add_path_receive: _containers.RepeatedScalarFieldContainer[_types_pb2.Family]
    restart_ours: GracefulRestartCapability
    restart_theirs: GracefulRestartCapability
    unknown: _containers.RepeatedCompositeFieldContainer[UnknownCapability]
    other_families: _containers.RepeatedScalarFieldContainer[str]
    host_name: str
    def __init__(self, four_octet_as: _Optional[bool] = ..., route_refresh: _Optional[bool] = ..., enhanced_route_refresh: _Optional[bool] = ..., extended_message: _Optional[bool] = ..., extended_next_hop: _Optional[bool] = ..., add_path_send: _Optional[_Iterable[_Union[_types_pb2.Family, str]]] = ..., add_path_receive: _Optional[_Iterable[_Union[_types_pb2.Family, str]]] = ..., restart_ours: _Optional[_Union[GracefulRestartCapability, _Mapping]] = ..., restart_theirs: _Optional[_Union[GracefulRestartCapability, _Mapping]] = ..., unknown: _Optional[_Iterable[_Union[UnknownCapability, _Mapping]]] = ..., other_families: _Optional[_Iterable[str]] = ..., host_name: _Optional[str] = ...) -> None: ...

class GracefulRestartCapability(_message.Message):
    __slots__ = ("restart_time_s", "restarting", "notification", "families")
    RESTART_TIME_S_FIELD_NUMBER: _ClassVar[int]
    RESTARTING_FIELD_NUMBER: _ClassVar[int]
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    FAMILIES_FIELD_NUMBER: _ClassVar[int]
    restart_time_s: int
    restarting: bool
    notification: bool
    families: _containers.RepeatedCompositeFieldContainer[GracefulRestartFamily]
    def __init__(self, restart_time_s: _Optional[int] = ..., restarting: _Optional[bool] = ..., notification: _Optional[bool] = ..., families: _Optional[_Iterable[_Union[GracefulRestartFamily, _Mapping]]] = ...) -> None: ...

class GracefulRestartFamily(_message.Message):
    __slots__ = ("family", "forwarding")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    FORWARDING_FIELD_NUMBER: _ClassVar[int]
    family: _types_pb2.Family
    forwarding: bool
    def __init__(self, family: _Optional[_Union[_types_pb2.Family, str]] = ..., forwarding: _Optional[bool] = ...) -> None: ...

class UnknownCapability(_message.Message):
    __slots__ = ("code", "value")
    CODE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    code: int
    value: str
    def __init__(self, code: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...

class PeerNotification(_message.Message):
    __slots__ = ("code", "subcode", "text", "communication", "sent_by_us", "at")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SUBCODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COMMUNICATION_FIELD_NUMBER: _ClassVar[int]
    SENT_BY_US_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    code: int
    subcode: int
    text: str
    communication: str
    sent_by_us: bool
    at: _timestamp_pb2.Timestamp
    def __init__(self, code: _Optional[int] = ..., subcode: _Optional[int] = ..., text: _Optional[str] = ..., communication: _Optional[str] = ..., sent_by_us: _Optional[bool] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PeerFamily(_message.Message):
    __slots__ = ("family", "negotiated", "received", "accepted", "rejected", "stale", "advertised", "end_of_rib_received", "end_of_rib_sent", "in_sync", "rejected_by_reason", "prefix_limit")
    class RejectedByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    NEGOTIATED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    ADVERTISED_FIELD_NUMBER: _ClassVar[int]
    END_OF_RIB_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    END_OF_RIB_SENT_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    REJECTED_BY_REASON_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LIMIT_FIELD_NUMBER: _ClassVar[int]
    family: _types_pb2.Family
    negotiated: bool
    received: int
    accepted: int
    rejected: int
    stale: int
    advertised: int
    end_of_rib_received: bool
    end_of_rib_sent: bool
    in_sync: bool
    rejected_by_reason: _containers.ScalarMap[str, int]
    prefix_limit: int
    def __init__(self, family: _Optional[_Union[_types_pb2.Family, str]] = ..., negotiated: _Optional[bool] = ..., received: _Optional[int] = ..., accepted: _Optional[int] = ..., rejected: _Optional[int] = ..., stale: _Optional[int] = ..., advertised: _Optional[int] = ..., end_of_rib_received: _Optional[bool] = ..., end_of_rib_sent: _Optional[bool] = ..., in_sync: _Optional[bool] = ..., rejected_by_reason: _Optional[_Mapping[str, int]] = ..., prefix_limit: _Optional[int] = ...) -> None: ...
