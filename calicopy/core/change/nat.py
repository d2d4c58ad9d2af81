"""What a change of NAT outgoing means for the pods' flows."""
from __future__ import annotations

from collections.abc import Iterator

from calicopy.config.model import ClusterConfig


def notes(old: ClusterConfig, new: ClusterConfig) -> Iterator[str]:
    """One sentence for each pool that gets or loses NAT outgoing, and one for the exclusions."""
    before = {pool.cidr: pool.nat_outgoing for pool in old.pools}
    for pool in new.pools:
        if before.get(pool.cidr, False) != pool.nat_outgoing:
            whose = "their node's" if pool.nat_outgoing else "their own"
            yield f"pool {pool.label}: new flows of its pods to outside the pools have {whose} address (nat_outgoing)"
    if any(before.values()) and any(pool.nat_outgoing for pool in new.pools):
        excluded, now = set(old.nat_exclude), set(new.nat_exclude)
        for prefixes, whose in ((now - excluded, "the pods' own"), (excluded - now, "the node's")):
            if prefixes:
                texts = ", ".join(map(str, sorted(prefixes)))
                yield f"new flows to {texts} have {whose} address (nat_exclude)"
