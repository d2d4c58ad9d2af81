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
    __slots__ = ("name", "address", "asn", "local_asn", "local_address", "kind", "state", "state_since", "last_error", "last_error_at", "router_id", "passive", "hold_time_s", "capabilities", "families", "updates_received", "sessions_established", "sessions_lost", "graceful_restart", "graceful_restart_time_s", "malformed_updates")
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
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., asn: _Optional[int] = ..., local_asn: _Optional[int] = ..., local_address: _Optional[str] = ..., kind: _Optional[_Union[PeerKind, str]] = ..., state: _Optional[_Union[SessionState, str]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., last_error_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., router_id: _Optional[str] = ..., passive: _Optional[bool] = ..., hold_time_s: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., families: _Optional[_Iterable[_Union[PeerFamily, _Mapping]]] = ..., updates_received: _Optional[int] = ..., sessions_established: _Optional[int] = ..., sessions_lost: _Optional[int] = ..., graceful_restart: _Optional[bool] = ..., graceful_restart_time_s: _Optional[int] = ..., malformed_updates: _Optional[int] = ...) -> None: ...

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
