"""What the store keeps beside IPAM's records: the workloads and a drain, which outlive the agent."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from calicopy.core.drain_state import DrainChange, DrainRecord
from calicopy.ipam import Change, Snapshot
from calicopy.net import IPAddress


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """A namespace that was given an interface: enough to find, check and undo all of it after a restart."""

    name: str
    netns: str
    """Path of the namespace, such as /run/netns/blue."""
    interface: str
    """Name of the interface inside."""
    host_interface: str
    addresses: tuple[IPAddress, ...]
    mac: str
    """Hardware address of the interface inside."""
    created_at: float
    """Seconds since the epoch, UTC."""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class WorkloadSaved:
    """Write the workload, new or changed."""

    record: WorkloadRecord


@dataclass(frozen=True, slots=True)
class WorkloadRemoved:
    """Forget the workload."""

    name: str


StoreChange: TypeAlias = Change | WorkloadSaved | WorkloadRemoved | DrainChange


@dataclass(frozen=True, slots=True)
class Stored:
    """All that the store holds."""

    ipam: Snapshot
    workloads: tuple[WorkloadRecord, ...]
    drain: DrainRecord | None = None
    """Set while the node is out of service, or on its way there."""
