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
    __slots__ = ("view", "peer", "family", "prefix", "reason")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    view: RouteView
    peer: str
    family: _types_pb2.Family
    prefix: str
    reason: str
    def __init__(self, view: _Optional[_Union[RouteView, str]] = ..., peer: _Optional[str] = ..., family: _Optional[_Union[_types_pb2.Family, str]] = ..., prefix: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("peer", "peer_address", "path_id", "state", "reason", "stale", "next_hop", "owner", "origin", "as_path", "local_pref", "med", "communities", "large_communities", "originator_id", "cluster_list", "rule")
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
    RULE_FIELD_NUMBER: _ClassVar[int]
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
    rule: str
    def __init__(self, peer: _Optional[str] = ..., peer_address: _Optional[str] = ..., path_id: _Optional[int] = ..., state: _Optional[_Union[PathState, str]] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ..., stale: _Optional[bool] = ..., next_hop: _Optional[str] = ..., owner: _Optional[str] = ..., origin: _Optional[str] = ..., as_path: _Optional[str] = ..., local_pref: _Optional[int] = ..., med: _Optional[int] = ..., communities: _Optional[_Iterable[str]] = ..., large_communities: _Optional[_Iterable[str]] = ..., originator_id: _Optional[str] = ..., cluster_list: _Optional[_Iterable[str]] = ..., rule: _Optional[str] = ...) -> None: ...

class KernelRoute(_message.Message):
    __slots__ = ("installed", "text", "reason", "origin", "next_hop_id")
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOP_ID_FIELD_NUMBER: _ClassVar[int]
    installed: bool
    text: str
    reason: _types_pb2.Reason
    origin: str
    next_hop_id: int
    def __init__(self, installed: _Optional[bool] = ..., text: _Optional[str] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ..., origin: _Optional[str] = ..., next_hop_id: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: str
    def __init__(self, target: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: Explanation
    def __init__(self, explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("asked", "prefix", "found", "verdict", "holding", "paths", "hops", "kernel", "match", "announcements", "others")
    ASKED_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENTS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    asked: str
    prefix: str
    found: bool
    verdict: str
    holding: Holding
    paths: _containers.RepeatedCompositeFieldContainer[ExplainedPath]
    hops: _containers.RepeatedCompositeFieldContainer[Hop]
    kernel: KernelRoute
    match: KernelMatch
    announcements: _containers.RepeatedCompositeFieldContainer[Announcement]
    others: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, asked: _Optional[str] = ..., prefix: _Optional[str] = ..., found: _Optional[bool] = ..., verdict: _Optional[str] = ..., holding: _Optional[_Union[Holding, _Mapping]] = ..., paths: _Optional[_Iterable[_Union[ExplainedPath, _Mapping]]] = ..., hops: _Optional[_Iterable[_Union[Hop, _Mapping]]] = ..., kernel: _Optional[_Union[KernelRoute, _Mapping]] = ..., match: _Optional[_Union[KernelMatch, _Mapping]] = ..., announcements: _Optional[_Iterable[_Union[Announcement, _Mapping]]] = ..., others: _Optional[_Iterable[str]] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("pool", "pool_cidr", "encapsulation", "mode", "block", "node", "state", "handle", "conflicts", "why")
    POOL_FIELD_NUMBER: _ClassVar[int]
    POOL_CIDR_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    pool: str
    pool_cidr: str
    encapsulation: str
    mode: str
    block: str
    node: str
    state: str
    handle: str
    conflicts: _containers.RepeatedScalarFieldContainer[str]
    why: str
    def __init__(self, pool: _Optional[str] = ..., pool_cidr: _Optional[str] = ..., encapsulation: _Optional[str] = ..., mode: _Optional[str] = ..., block: _Optional[str] = ..., node: _Optional[str] = ..., state: _Optional[str] = ..., handle: _Optional[str] = ..., conflicts: _Optional[_Iterable[str]] = ..., why: _Optional[str] = ...) -> None: ...

class ExplainedPath(_message.Message):
    __slots__ = ("path", "why", "comparison", "changed")
    PATH_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    path: Path
    why: str
    comparison: Comparison
    changed: str
    def __init__(self, path: _Optional[_Union[Path, _Mapping]] = ..., why: _Optional[str] = ..., comparison: _Optional[_Union[Comparison, _Mapping]] = ..., changed: _Optional[str] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("step", "source", "value", "other_value", "other_peer", "message")
    STEP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OTHER_VALUE_FIELD_NUMBER: _ClassVar[int]
    OTHER_PEER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    step: str
    source: str
    value: str
    other_value: str
    other_peer: str
    message: str
    def __init__(self, step: _Optional[str] = ..., source: _Optional[str] = ..., value: _Optional[str] = ..., other_value: _Optional[str] = ..., other_peer: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Hop(_message.Message):
    __slots__ = ("peer", "next_hop", "reachable", "on_link", "device", "gateway", "metric", "encapsulation", "encapsulation_why", "text", "reason")
    PEER_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOP_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    ON_LINK_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_WHY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    peer: str
    next_hop: str
    reachable: bool
    on_link: bool
    device: str
    gateway: str
    metric: int
    encapsulation: str
    encapsulation_why: str
    text: str
    reason: _types_pb2.Reason
    def __init__(self, peer: _Optional[str] = ..., next_hop: _Optional[str] = ..., reachable: _Optional[bool] = ..., on_link: _Optional[bool] = ..., device: _Optional[str] = ..., gateway: _Optional[str] = ..., metric: _Optional[int] = ..., encapsulation: _Optional[str] = ..., encapsulation_why: _Optional[str] = ..., text: _Optional[str] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ...) -> None: ...

class KernelMatch(_message.Message):
    __slots__ = ("address", "prefix", "protocol", "metric", "table", "ours", "text")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    OURS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    address: str
    prefix: str
    protocol: int
    metric: int
    table: int
    ours: bool
    text: str
    def __init__(self, address: _Optional[str] = ..., prefix: _Optional[str] = ..., protocol: _Optional[int] = ..., metric: _Optional[int] = ..., table: _Optional[int] = ..., ours: _Optional[bool] = ..., text: _Optional[str] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("peer", "announced", "reason")
    PEER_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    peer: str
    announced: bool
    reason: _types_pb2.Reason
    def __init__(self, peer: _Optional[str] = ..., announced: _Optional[bool] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ...) -> None: ...
