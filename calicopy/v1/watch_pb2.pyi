import datetime

from calicopy.v1 import ipam_pb2 as _ipam_pb2
from calicopy.v1 import node_pb2 as _node_pb2
from calicopy.v1 import peer_pb2 as _peer_pb2
from calicopy.v1 import route_pb2 as _route_pb2
from calicopy.v1 import workload_pb2 as _workload_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Topic(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TOPIC_UNSPECIFIED: _ClassVar[Topic]
    TOPIC_STATUS: _ClassVar[Topic]
    TOPIC_PEERS: _ClassVar[Topic]
    TOPIC_ROUTES: _ClassVar[Topic]
    TOPIC_BLOCKS: _ClassVar[Topic]
    TOPIC_WORKLOADS: _ClassVar[Topic]
    TOPIC_EVENTS: _ClassVar[Topic]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_SET: _ClassVar[ChangeKind]
    CHANGE_KIND_DELETED: _ClassVar[ChangeKind]
TOPIC_UNSPECIFIED: Topic
TOPIC_STATUS: Topic
TOPIC_PEERS: Topic
TOPIC_ROUTES: Topic
TOPIC_BLOCKS: Topic
TOPIC_WORKLOADS: Topic
TOPIC_EVENTS: Topic
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_SET: ChangeKind
CHANGE_KIND_DELETED: ChangeKind

class WatchRequest(_message.Message):
    __slots__ = ("topics", "heartbeat_s")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedScalarFieldContainer[Topic]
    heartbeat_s: int
    def __init__(self, topics: _Optional[_Iterable[_Union[Topic, str]]] = ..., heartbeat_s: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("revision", "at", "sync", "heartbeat", "change", "event")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    at: _timestamp_pb2.Timestamp
    sync: Sync
    heartbeat: Heartbeat
    change: Change
    event: LogEvent
    def __init__(self, revision: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sync: _Optional[_Union[Sync, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., change: _Optional[_Union[Change, _Mapping]] = ..., event: _Optional[_Union[LogEvent, _Mapping]] = ...) -> None: ...

class Sync(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "status", "peer", "route", "block", "workload")
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    kind: ChangeKind
    status: _node_pb2.NodeStatus
    peer: _peer_pb2.Peer
    route: _route_pb2.Route
    block: _ipam_pb2.Block
    workload: _workload_pb2.Workload
    def __init__(self, kind: _Optional[_Union[ChangeKind, str]] = ..., status: _Optional[_Union[_node_pb2.NodeStatus, _Mapping]] = ..., peer: _Optional[_Union[_peer_pb2.Peer, _Mapping]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ..., block: _Optional[_Union[_ipam_pb2.Block, _Mapping]] = ..., workload: _Optional[_Union[_workload_pb2.Workload, _Mapping]] = ...) -> None: ...

class LogEvent(_message.Message):
    __slots__ = ("component", "object", "code", "message", "level")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    component: str
    object: str
    code: str
    message: str
    level: str
    def __init__(self, component: _Optional[str] = ..., object: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., level: _Optional[str] = ...) -> None: ...
