"""The decision depends on the set of paths, never on the order in which they came."""
from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.bgp import AsPath, Origin, PathAttributes
from calicopy.net.nexthop import NextHopFacts
from calicopy.rib import Path, PeerInfo
from calicopy.rib.decision import rank

HOPS = [IPv4Address(f"10.0.0.{n}") for n in range(6)]
OUT_OF_USE = frozenset(HOPS[1:2])
FACTS = {hop: NextHopFacts(hop, reachable=n != 0, metric=n % 2) for n, hop in enumerate(HOPS)}


@st.composite
def path(draw: st.DrawFn, index: int) -> Path:
    """A path whose attributes have few values each, so that ties are common. `index` makes (peer, path id) unique."""
    asn = draw(st.sampled_from([64512, 65001, 65002]))
    as_path = () if asn == 64512 and draw(st.booleans()) else (draw(st.sampled_from([65001, 65002])),)
    number = index // 2
    peer = PeerInfo(f"p{number}", "p", IPv4Address(f"10.1.0.{number}"), asn, 64512, draw(st.integers(1, 3)))
    attributes = PathAttributes(
        as_path=AsPath.sequence(*as_path, *draw(st.sampled_from([(), (65009,)]))),
        origin=draw(st.sampled_from([Origin.IGP, Origin.EGP])),
        med=draw(st.sampled_from([None, 0, 5])),
        local_pref=draw(st.sampled_from([None, 100, 200])),
        originator_id=draw(st.sampled_from([None, HOPS[1]])),
        cluster_list=draw(st.sampled_from([(), (HOPS[1],)])),
    )
    return Path(peer, index % 2, attributes, draw(st.sampled_from(HOPS)))


paths = st.integers(1, 7).flatmap(lambda n: st.tuples(*(path(index) for index in range(n))))


@settings(max_examples=300)
@given(paths=paths, data=st.data(), most=st.integers(1, 4), relax=st.booleans())
def test_the_decision_does_not_depend_on_the_order_of_the_paths(paths, data, most, relax):
    shuffled = data.draw(st.permutations(paths))
    one = rank(paths, FACTS, multipath_max=most, multipath_relax=relax, out_of_use=OUT_OF_USE)
    other = rank(shuffled, FACTS, multipath_max=most, multipath_relax=relax, out_of_use=OUT_OF_USE)
    assert one.selected == other.selected
    assert dict(one.losing) == dict(other.losing)


@settings(max_examples=200)
@given(paths=paths, most=st.integers(1, 4), relax=st.booleans())
def test_every_path_is_either_selected_or_has_lost_at_a_step(paths, most, relax):
    ranking = rank(paths, FACTS, multipath_max=most, multipath_relax=relax, out_of_use=OUT_OF_USE)
    lost = [path for path, _ in ranking.losing]
    assert len(ranking.selected) <= most
    assert set(ranking.selected) | set(lost) == set(paths)
    assert len(ranking.selected) + len(lost) == len(paths)
    usable = [path for path in paths if FACTS[path.next_hop].reachable and path.next_hop not in OUT_OF_USE]
    assert bool(ranking.selected) == bool(usable)
    assert set(ranking.selected) <= set(usable)
