"""Workloads: a namespace gets a routed interface with an address, or loses it.

Blocking calls, made to be run in a thread; the network namespace of that thread is the host's.
"""
from __future__ import annotations

from calicopy.workload.attach import attach, detach, inspect, set_mtu
from calicopy.workload.check import least_mtu
from calicopy.workload.guard import TABLE as GUARD_TABLE
from calicopy.workload.guard import ensure_guard
from calicopy.workload.types import (
    GATEWAYS,
    HOST_MAC,
    Attached,
    AttachSpec,
    Inspection,
    WorkloadError,
    host_interface_name,
    is_host_interface,
)

__all__ = [
    "GATEWAYS",
    "GUARD_TABLE",
    "HOST_MAC",
    "AttachSpec",
    "Attached",
    "Inspection",
    "WorkloadError",
    "attach",
    "detach",
    "ensure_guard",
    "host_interface_name",
    "inspect",
    "is_host_interface",
    "least_mtu",
    "set_mtu",
]
