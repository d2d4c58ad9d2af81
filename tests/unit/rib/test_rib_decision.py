"""The decision ladder: for each tie-breaker, two paths that differ in it alone (and, below it, the other way round)."""
from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from calicopy.bgp import AsPath, Origin, PathAttributes, Segment, SegmentKind
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import DecisionStep, Path, PeerInfo
from calicopy.rib.decision import rank

AS = 64512
HOPS = [ip_address(f"10.0.0.{n}") for n in range(10)]
FACTS = {hop: NextHopFacts(hop, reachable=True, metric=10) for hop in HOPS}
FACTS[HOPS[7]] = NextHopFacts(HOPS[7], reachable=True, metric=5)
FACTS[HOPS[8]] = NextHopFacts.unreachable(HOPS[8])
UNKNOWN = ip_address("10.9.9.9")


def path(
    number: int, *, hop=None, asn: int = AS, as_path: AsPath | tuple[int, ...] = (), router_id: int | None = None,
    address: str | None = None, path_id: int = 0, **attributes,
) -> Path:  # fmt: skip
    """A path from peer `number`, 10.0.0.<number>, which is its next hop and router id unless said otherwise."""
    peer_address = ip_address(address or f"10.0.0.{number}")
    router = int(HOPS[number]) if router_id is None else router_id
    info = PeerInfo(str(peer_address), f"p{number}", peer_address, asn, AS, router)
    sequence = as_path if isinstance(as_path, AsPath) else AsPath.sequence(*as_path)
    return Path(info, path_id, PathAttributes(as_path=sequence, **attributes), HOPS[number] if hop is None else hop)


def decide(*paths: Path, multipath_max: int = 16, relax: bool = False):
    return rank(paths, FACTS, multipath_max=multipath_max, multipath_relax=relax, out_of_use={HOPS[9]})


CASES = [
    pytest.param(
        path(2, local_pref=10),
        path(1, hop=HOPS[8], local_pref=500),
        DecisionStep.NEXT_HOP,
        id="a next hop that cannot be resolved takes no part, however good the path",
    ),
    pytest.param(
        path(2, local_pref=10), path(1, hop=UNKNOWN), DecisionStep.NEXT_HOP, id="nor does one that nobody looked up yet"
    ),
    pytest.param(
        path(2, local_pref=10),
        path(1, hop=HOPS[9], local_pref=500),
        DecisionStep.BFD_DOWN,
        id="nor does one that BFD has found to be gone",
    ),
    pytest.param(
        path(2, local_pref=200, as_path=(1, 2, 3)), path(1), DecisionStep.LOCAL_PREF, id="the highest LOCAL_PREF wins"
    ),
    pytest.param(
        path(2, local_pref=101), path(1), DecisionStep.LOCAL_PREF, id="a path without LOCAL_PREF counts as 100"
    ),
    pytest.param(
        path(2, as_path=(65002,), origin=Origin.INCOMPLETE),
        path(1, as_path=(65001, 65003)),
        DecisionStep.AS_PATH,
        id="the shortest AS_PATH wins",
    ),
    pytest.param(
        path(2, as_path=AsPath((Segment(SegmentKind.AS_SET, (1, 2, 3)),))),
        path(1, as_path=(65001, 65003)),
        DecisionStep.AS_PATH,
        id="an AS_SET counts as one AS",
    ),
    pytest.param(
        path(2, origin=Origin.IGP, med=9),
        path(1, origin=Origin.EGP),
        DecisionStep.ORIGIN,
        id="the lowest ORIGIN wins",
    ),
    pytest.param(
        path(2, med=5, hop=HOPS[2]),
        path(1, med=6, hop=HOPS[7]),
        DecisionStep.MED,
        id="the lowest MED wins within a neighbor AS",
    ),
    pytest.param(path(2), path(1, med=1), DecisionStep.MED, id="a path without MED counts as 0"),
    pytest.param(
        path(2, asn=65001, as_path=(65001,)),
        path(1, as_path=(65003,), med=7, hop=HOPS[7]),
        DecisionStep.EXTERNAL,
        id="eBGP wins over iBGP, and MED does not count between neighbor ASes",
    ),
    pytest.param(path(7), path(1), DecisionStep.METRIC, id="the nearest next hop wins"),
    pytest.param(
        path(2, hop=HOPS[3], originator_id=IPv4Address("10.0.0.1")),
        path(1, hop=HOPS[3], originator_id=IPv4Address("10.0.0.2")),
        DecisionStep.ROUTER_ID,
        id="the lowest ORIGINATOR_ID wins, and stands before the router id",
    ),
    pytest.param(
        path(2, hop=HOPS[3], router_id=1),
        path(1, hop=HOPS[3], router_id=2),
        DecisionStep.ROUTER_ID,
        id="the lowest router id wins",
    ),
    pytest.param(
        path(2, hop=HOPS[3], router_id=5, cluster_list=(IPv4Address("1.1.1.1"),)),
        path(1, hop=HOPS[3], router_id=5, cluster_list=(IPv4Address("1.1.1.1"), IPv4Address("2.2.2.2"))),
        DecisionStep.CLUSTER_LIST,
        id="the shortest CLUSTER_LIST wins",
    ),
    pytest.param(
        path(1, hop=HOPS[3], router_id=5),
        path(2, hop=HOPS[3], router_id=5),
        DecisionStep.PEER_ADDRESS,
        id="the lowest peer address wins",
    ),
    pytest.param(
        path(9, hop=HOPS[3], router_id=5),
        path(1, hop=HOPS[3], router_id=5, address="2001:db8::1"),
        DecisionStep.PEER_ADDRESS,
        id="an IPv4 peer comes before an IPv6 one",
    ),
    pytest.param(
        path(1, hop=HOPS[3], path_id=1),
        path(1, hop=HOPS[3], path_id=2),
        DecisionStep.PATH_ID,
        id="the lowest path id wins",
    ),
]


@pytest.mark.parametrize(("winner", "loser", "step"), CASES)
def test_the_tie_breaker_decides_and_the_loser_keeps_its_name(winner, loser, step):
    for order in ((winner, loser), (loser, winner)):
        ranking = decide(*order)
        assert ranking.selected == (winner,)
        assert ranking.losing == ((loser, step),)


def test_every_step_of_the_ladder_has_a_case_words_and_a_source():
    assert {case.values[2] for case in CASES} == set(DecisionStep)
    assert all(step.text and step.source.startswith("RFC ") for step in DecisionStep)


def test_the_known_case_where_med_in_pairs_depends_on_the_order_does_not():
    """Three paths that, compared two by two, beat each other in a circle."""
    first = path(1, asn=65001, as_path=(65001,), med=10, hop=HOPS[1], router_id=1)
    second = path(2, asn=65002, as_path=(65002,), med=0, hop=HOPS[2], router_id=2)
    third = path(3, asn=65001, as_path=(65001,), med=5, hop=HOPS[3], router_id=3)
    orders = [(first, second, third), (third, second, first), (second, third, first), (second, first, third)]
    assert {decide(*order).selected for order in orders} == {(second,)}
    assert dict(decide(first, second, third).losing) == {first: DecisionStep.MED, third: DecisionStep.ROUTER_ID}


def test_paths_that_are_equal_up_to_the_metric_are_used_together():
    ranking = decide(path(3), path(1), path(2))
    assert [one.next_hop for one in ranking.selected] == HOPS[1:4]
    assert ranking.losing == ()


def test_multipath_is_bounded():
    ranking = decide(path(3), path(1), path(2), multipath_max=2)
    assert [one.next_hop for one in ranking.selected] == HOPS[1:3]
    assert [step for _, step in ranking.losing] == [DecisionStep.ROUTER_ID]


def test_one_next_hop_heard_from_two_reflectors_is_one_way():
    originator = IPv4Address("10.0.0.5")
    first, second = (path(n, hop=HOPS[5], originator_id=originator) for n in (1, 2))
    ranking = decide(second, first)
    assert ranking.selected == (first,)
    assert ranking.losing == ((second, DecisionStep.PEER_ADDRESS),)


@pytest.mark.parametrize("relax", [False, True])
def test_multipath_over_two_neighbor_ases_needs_to_be_relaxed(relax):
    first, second = (path(n, asn=65000 + n, as_path=(65000 + n,)) for n in (1, 2))
    ranking = decide(first, second, relax=relax)
    assert ranking.selected == ((first, second) if relax else (first,))


def test_nothing_is_selected_from_nothing():
    assert decide().selected == ()
    assert decide(path(8)).selected == ()


def test_paths_of_one_peer_under_many_path_ids_are_used_together():
    one = path(1, hop=HOPS[2], path_id=7)
    other = replace(one, path_id=8, next_hop=HOPS[3])
    assert decide(other, one).selected == (one, other)
