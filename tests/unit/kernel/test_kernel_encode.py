"""Packed messages, taken apart again by the parser of the dump."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from calicopy.fib import (
    BLACKHOLE,
    Hop,
    NextHopChange,
    NextHopObject,
    NextHopOp,
    RouteBatch,
    RouteKind,
    RouteOp,
    RouteTarget,
)
from calicopy.fib.types import workload_target
from calicopy.kernel.dump import parse_route
from calicopy.kernel.encode import Identity, destination, encode, template_of
from calicopy.kernel.netlink import HEADER, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_NEWROUTE, attribute, attributes, messages
from calicopy.kernel.nexthops import encode_change, parse_next_hop
from calicopy.net import Family, pack

OURS = Identity(117, 1024)

gateways = {
    Family.IPV4: st.integers(1, 2**32 - 1).map(IPv4Address),
    Family.IPV6: st.integers(1, 2**128 - 1).map(IPv6Address),
}


@st.composite
def batches(draw: st.DrawFn) -> RouteBatch:
    family = draw(st.sampled_from(Family))
    places = st.tuples(st.integers(0, 2**family.bits - 1), st.integers(0, family.bits))
    prefixes = draw(st.lists(places.map(lambda place: pack(*place, family)), min_size=1, max_size=30, unique=True))
    op = draw(st.sampled_from(RouteOp))
    hops = st.builds(Hop, gateways[family], st.integers(1, 2**31 - 1), onlink=st.booleans(), weight=st.integers(1, 256))
    single = st.builds(Hop, gateways[family], st.integers(1, 2**31 - 1), onlink=st.booleans())
    several = st.lists(hops, min_size=2, max_size=4).map(tuple)
    unicast = (single.map(lambda hop: (hop,)) | several).map(lambda found: RouteTarget(RouteKind.UNICAST, found))
    by_id = st.builds(RouteTarget, st.just(RouteKind.UNICAST), next_hop_id=st.integers(1, 2**32 - 1))
    target = draw(st.just(BLACKHOLE) | st.builds(workload_target, st.integers(1, 2**31 - 1)) | unicast | by_id)
    return RouteBatch(op, family, None if op is RouteOp.DELETE else target, prefixes)


@given(batches(), st.integers(1, 2**31))
def test_what_is_packed_parses_to_the_same_routes_under_the_sequence_number(batch: RouteBatch, sequence: int) -> None:
    data = bytes(encode(template_of(batch, OURS), batch.prefixes, sequence=sequence))
    seen: list[bytes] = []
    for kind, _, number, start, end in messages(data):
        assert (kind, number) == (RTM_DELROUTE if batch.op is RouteOp.DELETE else RTM_NEWROUTE, sequence)
        route = parse_route(batch.family, data, start, end)
        assert route is not None
        assert (route.protocol, route.metric) == (OURS.protocol, OURS.metric)
        assert destination(data[start - HEADER.size : end]) == route.packed
        seen.append(route.packed)
        if batch.target is not None:
            assert route.target == batch.target
    assert sorted(seen) == sorted(batch.prefixes)


def test_a_metric_of_a_batch_goes_before_our_own() -> None:
    batch = RouteBatch(RouteOp.DELETE, Family.IPV4, None, [pack(10 << 24, 8, Family.IPV4)], metric=7)
    data = encode(template_of(batch, OURS), batch.prefixes, sequence=1)
    route = parse_route(Family.IPV4, bytes(data), HEADER.size, len(data))
    assert route is not None
    assert route.metric == 7


ids = st.integers(1, 2**32 - 1)


@st.composite
def objects(draw: st.DrawFn) -> NextHopObject:
    family = draw(st.sampled_from(Family))
    hop = st.builds(Hop, gateways[family], st.integers(1, 2**31 - 1), onlink=st.booleans())
    group = st.dictionaries(ids, st.integers(1, 2**16), min_size=1, max_size=16)
    number = draw(ids)
    match draw(st.sampled_from(("hop", "group", "blackhole"))):
        case "hop":
            return NextHopObject(number, family, draw(hop))
        case "group":
            return NextHopObject(number, family, members=tuple(sorted(draw(group).items())))
    return NextHopObject(number, family)


@given(objects(), st.sampled_from((NextHopOp.ADD, NextHopOp.REPLACE)), ids)
def test_a_next_hop_object_that_is_packed_parses_to_the_same(wanted: NextHopObject, op: NextHopOp, number: int) -> None:
    data = encode_change(NextHopChange(op, wanted), protocol=OURS.protocol, sequence=number)
    ((kind, _, sequence, start, end),) = messages(data)
    assert (kind, sequence, end) == (RTM_NEWNEXTHOP, number, len(data))
    held = parse_next_hop(data, start, end)
    assert (held.protocol, held.as_object(wanted.family)) == (OURS.protocol, wanted)
    assert held.family is (None if wanted.members else wanted.family)


@given(st.binary(max_size=64))
def test_attributes_that_are_cut_short_end_the_walk(data: bytes) -> None:
    attributes(data, 0, len(data))
    list(messages(data))


def test_attributes_are_padded_to_four_octets() -> None:
    assert len(attribute(1, b"abcde")) == 12
    assert attributes(attribute(1, b"abcde") + attribute(0x8002, b"x"), 0, 20) == {1: b"abcde", 2: b"x"}
