"""What the agent shows of itself: frozen pictures of its state, which the API turns into proto messages.

Addresses and prefixes stay typed here; the API writes them as text. Times are wall-clock seconds since the epoch, put
in by the agent, since the core knows only a monotonic `now`.
"""
from __future__ import annotations

from calicopy.core.views.address import AddressView, BlockState, BlockView, PoolView, WorkloadView
from calicopy.core.views.event import ChangeView, LogView
from calicopy.core.views.explain import (
    AnnouncementView,
    ComparisonView,
    ExplainedPathView,
    ExplainView,
    HoldingView,
    HopView,
    KernelMatchView,
)
from calicopy.core.views.node import (
    FibView,
    Health,
    IpamView,
    NextHopView,
    NodeStatusView,
    ProblemView,
    ReadinessView,
    SpeakerView,
    TunnelAnswerView,
    TunnelView,
)
from calicopy.core.views.peer import (
    BfdEffect,
    BfdView,
    CapabilitiesView,
    NotificationView,
    PeerDetails,
    PeerFamilyView,
    PeerKind,
    PeerRole,
    PeerView,
    RestartView,
    TimersView,
)
from calicopy.core.views.plan import (
    AnnouncementPlan,
    ApplyStage,
    ConfigTextView,
    Effect,
    FieldChange,
    PlanView,
    ProgressView,
    RoutePlan,
    SessionEffect,
    SessionPlan,
    UnderWayView,
)
from calicopy.core.views.reason import ReasonView
from calicopy.core.views.route import KernelRouteView, PathState, PathView, RouteQuery, RouteView

__all__ = [
    "AddressView",
    "AnnouncementPlan",
    "AnnouncementView",
    "ApplyStage",
    "BfdEffect",
    "BfdView",
    "BlockState",
    "BlockView",
    "CapabilitiesView",
    "ChangeView",
    "ComparisonView",
    "ConfigTextView",
    "Effect",
    "ExplainView",
    "ExplainedPathView",
    "FibView",
    "FieldChange",
    "Health",
    "HoldingView",
    "HopView",
    "IpamView",
    "KernelMatchView",
    "KernelRouteView",
    "LogView",
    "NextHopView",
    "NodeStatusView",
    "NotificationView",
    "PathState",
    "PathView",
    "PeerDetails",
    "PeerFamilyView",
    "PeerKind",
    "PeerRole",
    "PeerView",
    "PlanView",
    "PoolView",
    "ProblemView",
    "ProgressView",
    "ReadinessView",
    "ReasonView",
    "RestartView",
    "RoutePlan",
    "RouteQuery",
    "RouteView",
    "SessionEffect",
    "SessionPlan",
    "SpeakerView",
    "TimersView",
    "TunnelAnswerView",
    "TunnelView",
    "UnderWayView",
    "WorkloadView",
]
