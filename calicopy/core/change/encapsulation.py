"""What a change of encapsulations means for the packets between nodes that have the new file and nodes that have not.

Theory of operation: a pool can be switched while the nodes follow one after the other as long as every node takes both
encapsulations all the time: the new one under the file that runs, the old one under the file that comes.
"""
from __future__ import annotations

from collections.abc import Iterator

from calicopy.config.model import ClusterConfig
from calicopy.net import Encapsulation
from calicopy.net.tunnel import underlay_family


def notes(old: ClusterConfig, new: ClusterConfig) -> Iterator[str]:
    """One sentence for each pool whose encapsulation or mode changes, and for each setting that cuts nodes off."""
    before = {pool.cidr: pool for pool in old.pools}
    for pool in new.pools:
        was = before.get(pool.cidr)
        if was is None or (was.encapsulation, was.mode) == (pool.encapsulation, pool.mode):
            continue
        yield f"pool {pool.label}: encapsulation {_text(was.encapsulation, was.mode.value)} becomes " + (
            f"{_text(pool.encapsulation, pool.mode.value)}; {_switch(old, new, was.encapsulation, pool.encapsulation)}"
        )
    gone = sorted(one.value for one in old.decapsulated - new.decapsulated - old.used_encapsulations)
    if gone:
        yield f"packets in {' and '.join(gone)} are not taken any more, and the device goes"
    come = sorted(one.value for one in new.decapsulated - old.decapsulated - new.used_encapsulations)
    if come:
        yield f"packets in {' and '.join(come)} are taken from now on: a pool can be switched once every node has this"
    before_family, after_family = (underlay_family(node.addresses for node in file.nodes) for file in (old, new))
    if before_family != after_family and new.used_encapsulations & {Encapsulation.VXLAN, Encapsulation.UDP}:
        yield f"vxlan and udp travel over {after_family} from now on: nodes without the new file are not reached so"
    for one in sorted(old.decapsulated & new.decapsulated, key=lambda encapsulation: encapsulation.value):
        settings = [getattr(file.encapsulation, one.value, None) for file in (old, new)]
        if settings[0] != settings[1] and one in old.used_encapsulations | new.used_encapsulations:
            yield f"settings of {one.value} change: nodes with different ones do not reach each other through it"


def _text(encapsulation: Encapsulation, mode: str) -> str:
    return "none" if encapsulation is Encapsulation.NONE else f"{encapsulation.value} {mode}"


def _switch(old: ClusterConfig, new: ClusterConfig, before: Encapsulation, after: Encapsulation) -> str:
    taken_before, taken_after = ({*file.decapsulated, Encapsulation.NONE} for file in (old, new))
    lost: list[str] = []
    if after not in taken_before:
        lost.append(
            f"nodes that still have the file that runs drop packets in {after.value}: "
            f"first give every node a file with {after.value} in encapsulation.decapsulate"
        )
    if before not in taken_after:
        lost.append(
            f"nodes that have the new file may drop packets in {before.value} of those that have not: "
            f"keep {before.value} in encapsulation.decapsulate until every node has it"
        )
    return "; ".join(lost) or "every node takes both, so that nodes may follow one after the other"
