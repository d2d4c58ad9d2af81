from calicopy.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_VIEW_UNSPECIFIED: _ClassVar[RouteView]
    ROUTE_VIEW_ALL: _ClassVar[RouteView]
    ROUTE_VIEW_RECEIVED: _ClassVar[RouteView]
    ROUTE_VIEW_ADVERTISED: _ClassVar[RouteView]
    ROUTE_VIEW_REJECTED: _ClassVar[RouteView]
    ROUTE_VIEW_INSTALLED: _ClassVar[RouteView]

class PathState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATH_STATE_UNSPECIFIED: _ClassVar[PathState]
    PATH_STATE_BEST: _ClassVar[PathState]
    PATH_STATE_MULTIPATH: _ClassVar[PathState]
    PATH_STATE_LOST: _ClassVar[PathState]
    PATH_STATE_REJECTED: _ClassVar[PathState]
    PATH_STATE_LOCAL: _ClassVar[PathState]
ROUTE_VIEW_UNSPECIFIED: RouteView
ROUTE_VIEW_ALL: RouteView
ROUTE_VIEW_RECEIVED: RouteView
ROUTE_VIEW_ADVERTISED: RouteView
ROUTE_VIEW_REJECTED: RouteView
ROUTE_VIEW_INSTALLED: RouteView
PATH_STATE_UNSPECIFIED: PathState
PATH_STATE_BEST: PathState
PATH_STATE_MULTIPATH: PathState
PATH_STATE_LOST: PathState
PATH_STATE_REJECTED: PathState
PATH_STATE_LOCAL: PathState

class ListRoutesRequest(_message.Message):
    __slots__ = ("view", "peer", "family", "prefix")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    view: RouteView
    peer: str
    family: _types_pb2.Family
    prefix: str
    def __init__(self, view: _Optional[_Union[RouteView, str]] = ..., peer: _Optional[str] = ..., family: _Optional[_Union[_types_pb2.Family, str]] = ..., prefix: _Optional[str] = ...) -> None: ...

class ListRoutesResponse(_message.Message):
    __slots__ = ("routes",)
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    def __init__(self, routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("prefix", "paths", "kernel")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    paths: _containers.RepeatedCompositeFieldContainer[Path]
    kernel: KernelRoute
    def __init__(self, prefix: _Optional[str] = ..., paths: _Optional[_Iterable[_Union[Path, _Mapping]]] = ..., kernel: _Optional[_Union[KernelRoute, _Mapping]] = ...) -> None: ...

class Path(_message.Message):
    __slots__ = ("peer", "peer_address", "path_id", "state", "reason", "stale", "next_hop", "owner", "origin", "as_path", "local_pref", "med", "communities", "large_communities", "originator_id", "cluster_list")
    PEER_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PATH_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOP_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    AS_PATH_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PREF_FIELD_NUMBER: _ClassVar[int]
    MED_FIELD_NUMBER: _ClassVar[int]
    COMMUNITIES_FIELD_NUMBER: _ClassVar[int]
    LARGE_COMMUNITIES_FIELD_NUMBER: _ClassVar[int]
    ORIGINATOR_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_LIST_FIELD_NUMBER: _ClassVar[int]
    peer: str
    peer_address: str
    path_id: int
    state: PathState
    reason: _types_pb2.Reason
    stale: bool
    next_hop: str
    owner: str
    origin: str
    as_path: str
    local_pref: int
    med: int
    communities: _containers.RepeatedScalarFieldContainer[str]
    large_communities: _containers.RepeatedScalarFieldContainer[str]
    originator_id: str
    cluster_list: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, peer: _Optional[str] = ..., peer_address: _Optional[str] = ..., path_id: _Optional[int] = ..., state: _Optional[_Union[PathState, str]] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ..., stale: _Optional[bool] = ..., next_hop: _Optional[str] = ..., owner: _Optional[str] = ..., origin: _Optional[str] = ..., as_path: _Optional[str] = ..., local_pref: _Optional[int] = ..., med: _Optional[int] = ..., communities: _Optional[_Iterable[str]] = ..., large_communities: _Optional[_Iterable[str]] = ..., originator_id: _Optional[str] = ..., cluster_list: _Optional[_Iterable[str]] = ...) -> None: ...

class KernelRoute(_message.Message):
    __slots__ = ("installed", "text", "reason", "origin")
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    installed: bool
    text: str
    reason: _types_pb2.Reason
    origin: str
    def __init__(self, installed: _Optional[bool] = ..., text: _Optional[str] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ..., origin: _Optional[str] = ...) -> None: ...
