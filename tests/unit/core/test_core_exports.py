"""What the core has the speaker announce: communities, filters, failures that several peers share, slices."""
from __future__ import annotations

import simnet
import simparts
from corescript import N2, N3, Script, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.exports import SLICE
from calicopy.net import Family, Prefix
from calicopy.seam import speaker as sp

OURS, SECOND = "10.244.0.0/26", "10.244.0.64/26"
V4 = Family.IPV4


def running(*blocks: str, **bgp: object) -> Script:
    """n1 with two peers that are up and in sync."""
    script = Script(node(bgp=bgp) if bgp else node(), snapshot(*(blocks or (OURS,)))).boot().up(N2).up(N3)
    return script.end_of_rib(N2, N3)


def announced(script: Script, prefix: str) -> dict[int, bytes]:
    """The attributes that a prefix was announced with last."""
    groups = [group for one in script.seen(do.Advertise) for group in one.announce if prefix in group.prefixes]
    return {one.code: one.value for one in groups[-1].attributes}


def test_own_prefixes_carry_the_communities_of_all_entries_that_they_lie_in() -> None:
    entries = [
        {"prefix": "10.244.0.0/16", "communities": ["64512:100", "64512:1:7"]},
        {"prefix": OURS, "communities": ["64512:100", "no-export"]},
    ]
    script = running(OURS, SECOND, communities=entries)
    assert announced(script, SECOND)[8] == bytes.fromhex("fc000064")
    assert announced(script, SECOND)[32][12:] == bytes.fromhex("0000fc00 00000001 00000007")
    assert announced(script, OURS)[8] == bytes.fromhex("fc000064 ffffff01")


def test_other_communities_are_announced_while_the_sessions_run() -> None:
    script = running()
    assert 8 not in announced(script, OURS)
    script.done.clear()
    communities = [{"prefix": "10.244.0.0/16", "communities": ["64512:100"]}]
    script.tell(ev.ConfigChanged(node(bgp={"communities": communities})))
    assert announced(script, OURS)[8] == bytes.fromhex("fc000064")
    assert not [gone for one in script.seen(do.Advertise) for gone in one.withdraw]


def test_a_family_in_which_we_have_no_address_gets_its_end_of_rib_all_the_same() -> None:
    """A peer that has restarted waits for it, family by family (RFC 4724 section 4.1)."""
    both = (Family.IPV4, Family.IPV6)
    script = Script(with_session(node(), families=both), snapshot(OURS)).boot()
    opens = [simparts.open_body(64512, router_id, families=both) for router_id in (script.node.router_id, N2)]
    script.tell(sp.PeerUp(N2, *opens))
    assert [one.family for one in script.seen(do.SendEndOfRib)] == [*both]


def test_a_session_that_goes_to_another_as_is_told_nothing_of_the_new_kind_before_it_is_reset() -> None:
    """Without LOCAL_PREF an internal peer would take everything as withdrawn (RFC 7606 section 7.5)."""
    script = running()
    script.done.clear()
    script.tell(ev.ConfigChanged(with_session(node(), asn=64600)))
    assert not script.seen(do.Advertise)
    script.tell(sp.PeerDown(N2, "closing"), sp.PeerUp(N2, script.our_open, simparts.open_body(64600, N2)))
    told = announced(script, OURS)
    assert 5 not in told
    assert told[2] == bytes.fromhex("0201 0000fc00")


def test_a_filter_of_the_mesh_decides_what_other_nodes_hear() -> None:
    filters = [{"name": "f", "rules": [{"match": {"prefix": [{"equal": SECOND}]}, "action": "reject"}]}]
    script = running(OURS, SECOND, filters=filters, mesh_export=["f"])
    told = {prefix for one in script.seen(do.Advertise) for group in one.announce for prefix in group.prefixes}
    assert told == {OURS}
    script.done.clear()
    script.tell(ev.ConfigChanged(node(bgp={"filters": filters, "mesh_export": []})))
    (one,) = script.seen(do.Advertise)
    assert (one.peers, [group.prefixes for group in one.announce]) == ((N2, N3), [(SECOND,)])


def test_a_command_for_several_peers_that_failed_is_repeated_for_all_of_them() -> None:
    script = running()
    script.done.clear()
    script.tell(ev.AdvertiseFailed((N2, N3), V4, "unknown")).wait(1.1)
    (one,) = script.seen(do.Advertise)
    assert one.peers == (N2, N3)
    assert [command.peer for command in script.seen(do.SendEndOfRib)] == [N2, N3]


def test_a_failure_of_a_session_that_is_gone_is_forgotten() -> None:
    script = running().tell(ev.AdvertiseFailed((N2,), V4, "unknown"), sp.PeerDown(N2, "connection reset"))
    script.done.clear()
    script.wait(5.0)
    assert not script.seen(do.Advertise)
    assert not script.seen(do.SendEndOfRib)


def test_a_large_table_goes_to_a_new_client_in_slices_with_end_of_rib_after_the_last() -> None:
    nodes = [{"name": f"n{number}", "address": f"10.0.0.{number}/24", "route_reflector": number == 1,
              "labels": {"rr": "yes"} if number == 1 else {}} for number in (1, 2, 3)]  # fmt: skip
    file = simnet.ClusterConfig.model_validate({
        "nodes": nodes, "pools": [{"cidr": "10.244.0.0/16", "block_size": 28}],
        "bgp": {"mesh": False, "peers": [{"name": "rr", "peer_selector": {"rr": "yes"}, "add_path": False}]},
    })  # fmt: skip
    script = Script(simnet.resolve(file, "n1")).boot().up(N2)
    blocks = [str(block) for block in Prefix.parse("10.244.128.0/17").subnets(28)][: 2 * SLICE + 10]
    for first in range(0, len(blocks), 500):
        script.hear(N2, *blocks[first : first + 500])
    script.end_of_rib(N2)
    script.done.clear()
    script.up(N3).end_of_rib(N3)
    before = script.done[: script.done.index(do.SendEndOfRib(N3, V4))]
    told = [one for one in before if isinstance(one, do.Advertise)]
    sizes = [sum(len(group.prefixes) for group in one.announce) for one in told]
    assert max(sizes) <= SLICE
    assert sum(sizes) == len(blocks)
    assert all(one.peers == (N3,) for one in told)


def test_changes_without_end_hold_back_neither_the_table_nor_end_of_rib_of_a_new_peer() -> None:
    script = Script(node(), snapshot(OURS)).boot().up(N2).end_of_rib(N2)
    core, seen = script.core, list[do.Command]()
    hosts = [Prefix.parse(f"10.244.{8 + n // 250}.{n % 250}/32") for n in range(2 * SLICE)]
    events: list[ev.CoreEvent] = [sp.PeerUp(N3, script.our_open, simparts.open_body(64512, N3))]
    for number in range(12):
        core.exports.set_prefixes(frozenset((Prefix.parse(OURS), *hosts[number % 2 :: 2])))
        seen += core.handle(events, script.now)
        events = [ev.Ticked()]
    told = [group for one in seen if isinstance(one, do.Advertise) and N3 in one.peers for group in one.announce]
    assert any(OURS in group.prefixes for group in told)
    assert do.SendEndOfRib(N3, V4) in seen
