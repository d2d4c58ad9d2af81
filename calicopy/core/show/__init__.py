"""Pictures of the core's state for the API, as `calicopy.core.views` has them: reading only, never on the hot path."""
from __future__ import annotations

from calicopy.core.show.node import address_view, address_views, block_views, pool_views, problems, status_view
from calicopy.core.show.peer import peer_view, role, session_problems
from calicopy.core.show.route import (
    PAGE,
    PROTOCOL_NAMES,
    REASON_CODES,
    SHADOWED,
    inside,
    kernel_view,
    local_path_view,
    one_route,
    path_reason,
    path_view,
    routes,
    unprogrammed_view,
)

__all__ = [
    "PAGE",
    "PROTOCOL_NAMES",
    "REASON_CODES",
    "SHADOWED",
    "address_view",
    "address_views",
    "block_views",
    "inside",
    "kernel_view",
    "local_path_view",
    "one_route",
    "path_reason",
    "path_view",
    "peer_view",
    "pool_views",
    "problems",
    "role",
    "routes",
    "session_problems",
    "status_view",
    "unprogrammed_view",
]
