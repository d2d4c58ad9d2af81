"""Two owners of one block, as the two nodes and their watchers live through it."""
from __future__ import annotations

from typing import Any

import simnet
import simparts
from corescript import N2, N3, Script, node, snapshot

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import Family, Prefix
from calicopy.seam import speaker as sp

BLOCK = "10.244.0.0/26"
V4 = Family.IPV4


def doubled(*, one: str = "", two: str = "") -> simnet.Network:
    """n1 and n2 both hold BLOCK, with an address in use where given; n3 watches."""
    net = simnet.Network(simnet.config(["n1", "n2", "n3"]))
    net["n1"].disk.commit(simparts.stored_block(BLOCK, used=one))
    net["n2"].disk.commit(simparts.stored_block(BLOCK, used=two))
    for host in net.hosts.values():
        host.start()
    net.run(5.0)
    return net


def kernel(host: simnet.Host) -> set[str]:
    return {str(Prefix(V4, packed)) for packed in host.kernel}


def announced(host: simnet.Host) -> set[str]:
    assert host.core is not None
    return set(map(str, host.core.ipam.announcements()))


def core(host: simnet.Host) -> Any:
    assert host.core is not None
    return host.core


def test_the_loser_gives_an_unused_block_up_and_claims_another() -> None:
    net = doubled()
    assert net["n1"].own == {BLOCK}
    assert len(net["n2"].own) == 1
    assert BLOCK not in net["n2"].own
    blocks = set().union(*(host.own for host in net.hosts.values()))
    assert all(kernel(host) == blocks for host in net.hosts.values())
    assert any(line.startswith("block-lost") for line in net["n2"].logs)


def test_the_loser_announces_what_it_uses_and_everybody_reaches_it() -> None:
    net = doubled(two="10.244.0.7")
    assert "10.244.0.7/32" in announced(net["n2"])
    assert BLOCK not in announced(net["n2"])
    for name in ("n1", "n3"):
        assert {BLOCK, "10.244.0.7/32"} <= kernel(net[name])


def test_the_winner_never_assigns_an_address_that_the_loser_announces() -> None:
    net = doubled(two="10.244.0.1")
    numbers = [net["n1"].assign(f"pod{number}") for number in range(63)]
    net.run(1.0)
    given = {str(net["n1"].replies[number].addresses[0].address) for number in numbers}
    assert len(given) == 63
    assert "10.244.0.1" not in given


def test_the_winner_does_not_assign_it_after_a_restart_either() -> None:
    net = doubled(two="10.244.0.0")
    net["n1"].kill()
    net["n1"].start()
    net.run(3.0)
    number = net["n1"].assign("pod")
    net.run(1.0)
    assert str(net["n1"].replies[number].addresses[0].address) == "10.244.0.1"


def test_the_address_is_free_again_when_the_loser_has_released_it() -> None:
    net = doubled(two="10.244.0.0")
    net["n2"].tell(ev.AddressReleased(99, "pod"))
    net.run(1.0)
    assert BLOCK not in net["n2"].own
    number = net["n1"].assign("pod")
    net.run(1.0)
    assert str(net["n1"].replies[number].addresses[0].address) == "10.244.0.0"
    assert not core(net["n1"]).ipam.block_conflicts()


def test_an_address_that_both_use_is_a_named_conflict_and_is_said() -> None:
    net = doubled(one="10.244.0.9", two="10.244.0.9")
    (found,) = core(net["n1"]).ipam.address_conflicts()
    assert (str(found.address), found.rival) == ("10.244.0.9", "n2")
    assert any(line.startswith("address-conflict") for line in net["n1"].logs)
    net["n2"].tell(ev.AddressReleased(99, "pod"))
    net.run(1.0)
    assert not core(net["n1"]).ipam.address_conflicts()
    assert any(line.startswith("address-conflict-over") for line in net["n1"].logs)


def test_an_address_released_at_the_winner_stays_closed_while_the_loser_announces_it() -> None:
    net = doubled(one="10.244.0.9", two="10.244.0.9")
    net["n1"].tell(ev.AddressReleased(99, "pod"))
    net.run(1.0)
    assert "10.244.0.9/32" in kernel(net["n1"])
    numbers = [net["n1"].assign(f"pod{number}") for number in range(63)]
    net.run(1.0)
    assert "10.244.0.9" not in {str(net["n1"].replies[number].addresses[0].address) for number in numbers}


def test_a_watcher_believes_the_winner_whom_it_heard_last() -> None:
    script = Script(node(), snapshot("10.244.3.0/26")).boot().up(N2).up(N3)
    script.hear(N3, BLOCK)
    assert script.core.rib.selection(V4, Prefix.parse(BLOCK).packed).best.owner == int.from_bytes(bytes((10, 0, 0, 3)))
    script.hear(N2, BLOCK)
    assert script.core.rib.selection(V4, Prefix.parse(BLOCK).packed).best.owner == int.from_bytes(bytes((10, 0, 0, 2)))


def test_a_block_stays_reserved_for_a_node_that_is_gone() -> None:
    script = Script(node(), snapshot("10.244.3.0/26")).boot().up(N2).up(N3)
    script.hear(N3, BLOCK).end_of_rib(N2, N3)
    script.tell(sp.NotificationSeen(N3, False, b"\x06\x02"), sp.PeerDown(N3, "closed"))
    script.hear(N2, BLOCK)
    assert script.core.rib.selection(V4, Prefix.parse(BLOCK).packed) is None
    script.tell(ev.BlockReleased(1, Prefix.parse(BLOCK)))
    assert script.take(do.Reply)[0].error is None
    assert script.core.rib.selection(V4, Prefix.parse(BLOCK).packed).best.owner == int.from_bytes(bytes((10, 0, 0, 2)))
