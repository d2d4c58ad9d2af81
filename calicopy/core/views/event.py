"""What is told as it happens: the lines of the log, and changes for those who watch. Times are wall-clock seconds."""
from __future__ import annotations

from dataclasses import dataclass, field

from calicopy.core.views.address import BlockView, WorkloadView
from calicopy.core.views.node import NodeStatusView
from calicopy.core.views.peer import PeerView
from calicopy.core.views.route import RouteView


@dataclass(frozen=True, slots=True)
class LogView:
    """A line of the event log; level is info, warning or error."""

    component: str
    object: str
    code: str
    message: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change for the watchers: the new picture, or, when `deleted`, the last one known."""

    object: NodeStatusView | PeerView | RouteView | BlockView | WorkloadView | LogView
    deleted: bool = False
    at: float = field(default=0.0)
