"""What the decision process tells, in runs of prefixes."""
from __future__ import annotations

from calicopy.net import Family

A, B, C = "10.244.1.0/26", "10.244.2.0/26", "10.244.3.0/26"


def test_withdrawals_that_one_slice_takes_from_two_rounds_are_all_told(world):
    peer = world.node_peer(2)
    world.announce(peer, A, B, C)
    world.settle()
    world.withdraw(peer, A, B)
    assert world.rib.decide(1).more
    world.withdraw(peer, C)
    runs = world.rib.decide(10).changes[Family.IPV4]
    assert [(selection, [*prefixes]) for selection, prefixes in runs] == [(None, [world.packed(B), world.packed(C)])]
