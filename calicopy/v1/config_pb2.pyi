import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_EFFECT_UNSPECIFIED: _ClassVar[SessionEffect]
    SESSION_EFFECT_ADDED: _ClassVar[SessionEffect]
    SESSION_EFFECT_REMOVED: _ClassVar[SessionEffect]
    SESSION_EFFECT_LINGERING: _ClassVar[SessionEffect]
    SESSION_EFFECT_RESET: _ClassVar[SessionEffect]
    SESSION_EFFECT_CHANGED: _ClassVar[SessionEffect]

class PlanEffect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_EFFECT_UNSPECIFIED: _ClassVar[PlanEffect]
    PLAN_EFFECT_ADDED: _ClassVar[PlanEffect]
    PLAN_EFFECT_REMOVED: _ClassVar[PlanEffect]
    PLAN_EFFECT_CHANGED: _ClassVar[PlanEffect]

class ApplyStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPLY_STAGE_UNSPECIFIED: _ClassVar[ApplyStage]
    APPLY_STAGE_RUNNING: _ClassVar[ApplyStage]
    APPLY_STAGE_WAITING: _ClassVar[ApplyStage]
    APPLY_STAGE_DONE: _ClassVar[ApplyStage]
    APPLY_STAGE_NOT_SAVED: _ClassVar[ApplyStage]
    APPLY_STAGE_RESTORED: _ClassVar[ApplyStage]

class ConfigKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFIG_KIND_UNSPECIFIED: _ClassVar[ConfigKind]
    CONFIG_KIND_RUNNING: _ClassVar[ConfigKind]
    CONFIG_KIND_STARTUP: _ClassVar[ConfigKind]
SESSION_EFFECT_UNSPECIFIED: SessionEffect
SESSION_EFFECT_ADDED: SessionEffect
SESSION_EFFECT_REMOVED: SessionEffect
SESSION_EFFECT_LINGERING: SessionEffect
SESSION_EFFECT_RESET: SessionEffect
SESSION_EFFECT_CHANGED: SessionEffect
PLAN_EFFECT_UNSPECIFIED: PlanEffect
PLAN_EFFECT_ADDED: PlanEffect
PLAN_EFFECT_REMOVED: PlanEffect
PLAN_EFFECT_CHANGED: PlanEffect
APPLY_STAGE_UNSPECIFIED: ApplyStage
APPLY_STAGE_RUNNING: ApplyStage
APPLY_STAGE_WAITING: ApplyStage
APPLY_STAGE_DONE: ApplyStage
APPLY_STAGE_NOT_SAVED: ApplyStage
APPLY_STAGE_RESTORED: ApplyStage
CONFIG_KIND_UNSPECIFIED: ConfigKind
CONFIG_KIND_RUNNING: ConfigKind
CONFIG_KIND_STARTUP: ConfigKind

class PlanRequest(_message.Message):
    __slots__ = ("text", "filename")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    text: bytes
    filename: str
    def __init__(self, text: _Optional[bytes] = ..., filename: _Optional[str] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: Plan
    def __init__(self, plan: _Optional[_Union[Plan, _Mapping]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("sessions", "announcements", "routes", "sessions_total", "announcements_total", "routes_total", "restarts", "notes", "warnings")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENTS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROUTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionPlan]
    announcements: _containers.RepeatedCompositeFieldContainer[AnnouncementPlan]
    routes: _containers.RepeatedCompositeFieldContainer[RoutePlan]
    sessions_total: int
    announcements_total: int
    routes_total: int
    restarts: _containers.RepeatedScalarFieldContainer[str]
    notes: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionPlan, _Mapping]]] = ..., announcements: _Optional[_Iterable[_Union[AnnouncementPlan, _Mapping]]] = ..., routes: _Optional[_Iterable[_Union[RoutePlan, _Mapping]]] = ..., sessions_total: _Optional[int] = ..., announcements_total: _Optional[int] = ..., routes_total: _Optional[int] = ..., restarts: _Optional[_Iterable[str]] = ..., notes: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class SessionPlan(_message.Message):
    __slots__ = ("name", "address", "effect", "fields", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    effect: SessionEffect
    fields: _containers.RepeatedCompositeFieldContainer[FieldChange]
    note: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., effect: _Optional[_Union[SessionEffect, str]] = ..., fields: _Optional[_Iterable[_Union[FieldChange, _Mapping]]] = ..., note: _Optional[str] = ...) -> None: ...

class FieldChange(_message.Message):
    __slots__ = ("name", "before", "after", "resets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    RESETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    before: str
    after: str
    resets: bool
    def __init__(self, name: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., resets: _Optional[bool] = ...) -> None: ...

class AnnouncementPlan(_message.Message):
    __slots__ = ("peers", "effect", "prefixes", "before", "after")
    PEERS_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    peers: _containers.RepeatedScalarFieldContainer[str]
    effect: PlanEffect
    prefixes: _containers.RepeatedScalarFieldContainer[str]
    before: str
    after: str
    def __init__(self, peers: _Optional[_Iterable[str]] = ..., effect: _Optional[_Union[PlanEffect, str]] = ..., prefixes: _Optional[_Iterable[str]] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class RoutePlan(_message.Message):
    __slots__ = ("prefix", "effect", "before", "after", "why")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    effect: PlanEffect
    before: str
    after: str
    why: str
    def __init__(self, prefix: _Optional[str] = ..., effect: _Optional[_Union[PlanEffect, str]] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("text", "filename", "confirm_s")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_S_FIELD_NUMBER: _ClassVar[int]
    text: bytes
    filename: str
    confirm_s: int
    def __init__(self, text: _Optional[bytes] = ..., filename: _Optional[str] = ..., confirm_s: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: ApplyProgress
    def __init__(self, progress: _Optional[_Union[ApplyProgress, _Mapping]] = ...) -> None: ...

class ApplyProgress(_message.Message):
    __slots__ = ("stage", "message", "missing")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    stage: ApplyStage
    message: str
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stage: _Optional[_Union[ApplyStage, str]] = ..., message: _Optional[str] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class ConfirmRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfirmResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: ApplyProgress
    def __init__(self, progress: _Optional[_Union[ApplyProgress, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("confirm_s",)
    CONFIRM_S_FIELD_NUMBER: _ClassVar[int]
    confirm_s: int
    def __init__(self, confirm_s: _Optional[int] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: ApplyProgress
    def __init__(self, progress: _Optional[_Union[ApplyProgress, _Mapping]] = ...) -> None: ...

class GetConfigRequest(_message.Message):
    __slots__ = ("kind",)
    KIND_FIELD_NUMBER: _ClassVar[int]
    kind: ConfigKind
    def __init__(self, kind: _Optional[_Union[ConfigKind, str]] = ...) -> None: ...

class GetConfigResponse(_message.Message):
    __slots__ = ("text", "filename", "same", "change")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    text: bytes
    filename: str
    same: bool
    change: ConfigChange
    def __init__(self, text: _Optional[bytes] = ..., filename: _Optional[str] = ..., same: _Optional[bool] = ..., change: _Optional[_Union[ConfigChange, _Mapping]] = ...) -> None: ...

class ConfigChange(_message.Message):
    __slots__ = ("by", "began_at", "until", "missing")
    BY_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    by: str
    began_at: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, by: _Optional[str] = ..., began_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...
