"""`ClusterConfig`: the cluster file as one typed value.

Theory of operation: a `ClusterConfig` is always whole. Its parts judge their values (`sections`), and on construction
it judges what must hold between them (`checks`); a file with any error yields none. It is frozen, does no I/O, and
the pure core uses it as it is. `load` runs the checks itself, to give each problem its line, and says so with
`DEFER_CHECKS`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from calicopy.config.checks import check
from calicopy.config.errors import format_path
from calicopy.config.fields import (
    DetectionMethod,
    IPInterface,
    Listen,
    LogLevel,
    PrefixField,
)
from calicopy.config.problems import Problem
from calicopy.config.sections import (
    AddressDetection,
    AgentSection,
    ApiSection,
    ClusterSection,
    EncapsulationSection,
    NodeEntry,
    PoolEntry,
    Section,
    selects,
)
from calicopy.config.sections_bgp import BgpSection, PeerEntry
from calicopy.net import Encapsulation

DEFER_CHECKS = "calicopy: the caller runs the checks"
"""As pydantic's validation context: the caller calls `ClusterConfig.problems` itself and discards a result with
errors."""


class ClusterConfig(Section):
    """The cluster file: the same on every node."""

    cluster: ClusterSection = Field(default_factory=ClusterSection)
    """The cluster as a whole."""
    nodes: Annotated[tuple[NodeEntry, ...], Field(max_length=5000)] = Field(
        default=(), json_schema_extra={"minItems": 1}
    )
    """The nodes of the cluster, at least one."""
    pools: Annotated[tuple[PoolEntry, ...], Field(max_length=256)] = ()
    """The pools that nodes claim blocks of pod addresses from. They may not overlap."""
    nat_exclude: Annotated[tuple[PrefixField, ...], Field(max_length=1024)] = ()
    """Destinations outside of the pools that packets of a `nat_outgoing` pool reach with the pod's own address."""
    address_detection: AddressDetection = Field(default_factory=AddressDetection)
    """How nodes without an `address` find theirs."""
    encapsulation: EncapsulationSection = Field(default_factory=EncapsulationSection)
    """The encapsulations that every node takes, and their settings."""
    bgp: BgpSection = Field(default_factory=BgpSection)
    """BGP of every node."""
    agent: AgentSection = Field(default_factory=AgentSection)
    """The agent process on every node."""

    @property
    def used_encapsulations(self) -> frozenset[Encapsulation]:
        """The encapsulations of the pools, but for `none`."""
        return frozenset(pool.encapsulation for pool in self.pools) - {Encapsulation.NONE}

    @property
    def decapsulated(self) -> frozenset[Encapsulation]:
        """The encapsulations that every node takes at all times."""
        return self.used_encapsulations.union(self.encapsulation.decapsulate)

    def problems(self) -> tuple[Problem, ...]:
        """What does not fit together, errors and warnings. No errors in a value that was constructed without
        `DEFER_CHECKS`."""
        return tuple(
            check(
                nodes=self.nodes,
                pools=self.pools,
                nat_exclude=self.nat_exclude,
                detection=self.address_detection,
                encapsulation=self.encapsulation,
                bgp=self.bgp,
                agent=self.agent,
                cluster_as=self.cluster.asn,
            )
        )

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> ClusterConfig:
        if info.context != DEFER_CHECKS:
            errors = [f"{format_path(p.path)}: {p.text()}" for p in self.problems() if not p.warning]
            if errors:
                raise PydanticCustomError("checks", "{message}", {"message": "; ".join(errors)})
        return self


__all__ = [
    "DEFER_CHECKS",
    "AddressDetection",
    "AgentSection",
    "ApiSection",
    "BgpSection",
    "ClusterConfig",
    "ClusterSection",
    "DetectionMethod",
    "EncapsulationSection",
    "IPInterface",
    "Listen",
    "LogLevel",
    "NodeEntry",
    "PeerEntry",
    "PoolEntry",
    "selects",
]
