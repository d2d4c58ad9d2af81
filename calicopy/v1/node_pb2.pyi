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

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNSPECIFIED: _ClassVar[Health]
    HEALTH_OK: _ClassVar[Health]
    HEALTH_STARTING: _ClassVar[Health]
    HEALTH_DEGRADED: _ClassVar[Health]
    HEALTH_DRAINED: _ClassVar[Health]

class DrainPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRAIN_PHASE_UNSPECIFIED: _ClassVar[DrainPhase]
    DRAIN_PHASE_ACTIVE: _ClassVar[DrainPhase]
    DRAIN_PHASE_DRAINING: _ClassVar[DrainPhase]
    DRAIN_PHASE_DRAINED: _ClassVar[DrainPhase]
HEALTH_UNSPECIFIED: Health
HEALTH_OK: Health
HEALTH_STARTING: Health
HEALTH_DEGRADED: Health
HEALTH_DRAINED: Health
DRAIN_PHASE_UNSPECIFIED: DrainPhase
DRAIN_PHASE_ACTIVE: DrainPhase
DRAIN_PHASE_DRAINING: DrainPhase
DRAIN_PHASE_DRAINED: DrainPhase

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: NodeStatus
    def __init__(self, status: _Optional[_Union[NodeStatus, _Mapping]] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node", "router_id", "asn", "addresses", "version", "started_at", "health", "problems", "speaker", "fib", "ipam", "peers", "counters", "config_file", "drain", "tunnels", "next_hops", "workload_mtu", "ready", "reasons", "degraded")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROUTER_ID_FIELD_NUMBER: _ClassVar[int]
    ASN_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    FIB_FIELD_NUMBER: _ClassVar[int]
    IPAM_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FILE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_HOPS_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_MTU_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    node: str
    router_id: str
    asn: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    version: str
    started_at: _timestamp_pb2.Timestamp
    health: Health
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    speaker: SpeakerStatus
    fib: FibStatus
    ipam: IpamStatus
    peers: PeerSummary
    counters: _containers.ScalarMap[str, int]
    config_file: str
    drain: DrainStatus
    tunnels: _containers.RepeatedCompositeFieldContainer[TunnelStatus]
    next_hops: _containers.RepeatedCompositeFieldContainer[NextHopStatus]
    workload_mtu: int
    ready: bool
    reasons: _containers.RepeatedCompositeFieldContainer[Problem]
    degraded: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, node: _Optional[str] = ..., router_id: _Optional[str] = ..., asn: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., health: _Optional[_Union[Health, str]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., speaker: _Optional[_Union[SpeakerStatus, _Mapping]] = ..., fib: _Optional[_Union[FibStatus, _Mapping]] = ..., ipam: _Optional[_Union[IpamStatus, _Mapping]] = ..., peers: _Optional[_Union[PeerSummary, _Mapping]] = ..., counters: _Optional[_Mapping[str, int]] = ..., config_file: _Optional[str] = ..., drain: _Optional[_Union[DrainStatus, _Mapping]] = ..., tunnels: _Optional[_Iterable[_Union[TunnelStatus, _Mapping]]] = ..., next_hops: _Optional[_Iterable[_Union[NextHopStatus, _Mapping]]] = ..., workload_mtu: _Optional[int] = ..., ready: _Optional[bool] = ..., reasons: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., degraded: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class DrainStatus(_message.Message):
    __slots__ = ("phase", "since", "wait_s", "waiting", "without_alternative", "without_count")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    phase: DrainPhase
    since: _timestamp_pb2.Timestamp
    wait_s: float
    waiting: int
    without_alternative: _containers.RepeatedScalarFieldContainer[str]
    without_count: int
    def __init__(self, phase: _Optional[_Union[DrainPhase, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wait_s: _Optional[float] = ..., waiting: _Optional[int] = ..., without_alternative: _Optional[_Iterable[str]] = ..., without_count: _Optional[int] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("force", "wait_s")
    FORCE_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    force: bool
    wait_s: float
    def __init__(self, force: _Optional[bool] = ..., wait_s: _Optional[float] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("step", "message", "drain", "last")
    STEP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    step: str
    message: str
    drain: DrainStatus
    last: bool
    def __init__(self, step: _Optional[str] = ..., message: _Optional[str] = ..., drain: _Optional[_Union[DrainStatus, _Mapping]] = ..., last: _Optional[bool] = ...) -> None: ...

class UndrainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UndrainResponse(_message.Message):
    __slots__ = ("was_drained",)
    WAS_DRAINED_FIELD_NUMBER: _ClassVar[int]
    was_drained: bool
    def __init__(self, was_drained: _Optional[bool] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("component", "object", "reason")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    component: str
    object: str
    reason: _types_pb2.Reason
    def __init__(self, component: _Optional[str] = ..., object: _Optional[str] = ..., reason: _Optional[_Union[_types_pb2.Reason, _Mapping]] = ...) -> None: ...

class SpeakerStatus(_message.Message):
    __slots__ = ("attached", "instance", "pid", "last_error")
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    attached: bool
    instance: str
    pid: int
    last_error: str
    def __init__(self, attached: _Optional[bool] = ..., instance: _Optional[str] = ..., pid: _Optional[int] = ..., last_error: _Optional[str] = ...) -> None: ...

class FibStatus(_message.Message):
    __slots__ = ("desired", "installed", "pending", "failed", "in_sync", "protocol", "metric")
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    desired: int
    installed: int
    pending: int
    failed: int
    in_sync: bool
    protocol: int
    metric: int
    def __init__(self, desired: _Optional[int] = ..., installed: _Optional[int] = ..., pending: _Optional[int] = ..., failed: _Optional[int] = ..., in_sync: _Optional[bool] = ..., protocol: _Optional[int] = ..., metric: _Optional[int] = ...) -> None: ...

class IpamStatus(_message.Message):
    __slots__ = ("blocks", "pending_blocks", "assigned", "free", "conflicts", "families")
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    PENDING_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    FAMILIES_FIELD_NUMBER: _ClassVar[int]
    blocks: int
    pending_blocks: int
    assigned: int
    free: int
    conflicts: int
    families: _containers.RepeatedCompositeFieldContainer[FamilyAddresses]
    def __init__(self, blocks: _Optional[int] = ..., pending_blocks: _Optional[int] = ..., assigned: _Optional[int] = ..., free: _Optional[int] = ..., conflicts: _Optional[int] = ..., families: _Optional[_Iterable[_Union[FamilyAddresses, _Mapping]]] = ...) -> None: ...

class FamilyAddresses(_message.Message):
    __slots__ = ("family", "assigned", "free")
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    family: _types_pb2.Family
    assigned: int
    free: int
    def __init__(self, family: _Optional[_Union[_types_pb2.Family, str]] = ..., assigned: _Optional[int] = ..., free: _Optional[int] = ...) -> None: ...

class PeerSummary(_message.Message):
    __slots__ = ("total", "established")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ESTABLISHED_FIELD_NUMBER: _ClassVar[int]
    total: int
    established: int
    def __init__(self, total: _Optional[int] = ..., established: _Optional[int] = ...) -> None: ...

class TunnelStatus(_message.Message):
    __slots__ = ("device", "up", "mtu", "error", "encapsulation", "used", "addresses", "stranger_packets")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STRANGER_PACKETS_FIELD_NUMBER: _ClassVar[int]
    device: str
    up: bool
    mtu: int
    error: str
    encapsulation: str
    used: bool
    addresses: _containers.RepeatedScalarFieldContainer[str]
    stranger_packets: int
    def __init__(self, device: _Optional[str] = ..., up: _Optional[bool] = ..., mtu: _Optional[int] = ..., error: _Optional[str] = ..., encapsulation: _Optional[str] = ..., used: _Optional[bool] = ..., addresses: _Optional[_Iterable[str]] = ..., stranger_packets: _Optional[int] = ...) -> None: ...

class NextHopStatus(_message.Message):
    __slots__ = ("node", "address", "encapsulation", "device", "gateway", "mtu", "pod_mtu", "pools", "answers")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ENCAPSULATION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    POD_MTU_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    node: str
    address: str
    encapsulation: str
    device: str
    gateway: str
    mtu: int
    pod_mtu: int
    pools: _containers.RepeatedScalarFieldContainer[str]
    answers: _containers.RepeatedCompositeFieldContainer[_types_pb2.TunnelAnswer]
    def __init__(self, node: _Optional[str] = ..., address: _Optional[str] = ..., encapsulation: _Optional[str] = ..., device: _Optional[str] = ..., gateway: _Optional[str] = ..., mtu: _Optional[int] = ..., pod_mtu: _Optional[int] = ..., pools: _Optional[_Iterable[str]] = ..., answers: _Optional[_Iterable[_Union[_types_pb2.TunnelAnswer, _Mapping]]] = ...) -> None: ...
