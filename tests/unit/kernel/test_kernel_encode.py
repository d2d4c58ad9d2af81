"""Packed messages, taken apart again by the parser of the dump."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from calicopy.fib import BLACKHOLE, Hop, RouteBatch, RouteKind, RouteOp, RouteTarget
from calicopy.fib.types import workload_target
from calicopy.kernel.dump import parse_route
from calicopy.kernel.encode import Identity, ask_for_ack, encode, message_size
from calicopy.kernel.netlink import HEADER, NLM_F_ACK, RTM_DELROUTE, RTM_NEWROUTE, attribute, attributes, messages
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
    target = draw(st.just(BLACKHOLE) | st.builds(workload_target, st.integers(1, 2**31 - 1)) | unicast)
    return RouteBatch(op, family, None if op is RouteOp.DELETE else target, prefixes)


@given(batches(), st.integers(1, 2**31))
def test_what_is_packed_parses_to_the_same_routes_in_the_order_of_the_sequence_numbers(
    batch: RouteBatch, first: int
) -> None:
    data, order = encode(batch, OURS, first)
    found = list(messages(bytes(data)))
    assert sorted(order) == sorted(batch.prefixes)
    assert [sequence for _, _, sequence, _, _ in found] == list(range(first, first + len(order)))
    for (kind, _, _, start, end), packed in zip(found, order, strict=True):
        assert kind == (RTM_DELROUTE if batch.op is RouteOp.DELETE else RTM_NEWROUTE)
        route = parse_route(batch.family, bytes(data), start, end)
        assert route is not None
        assert (route.packed, route.protocol, route.metric) == (packed, OURS.protocol, OURS.metric)
        if batch.target is not None:
            assert route.target == batch.target


def test_only_the_last_message_asks_for_an_answer() -> None:
    batch = RouteBatch(RouteOp.ADD, Family.IPV4, BLACKHOLE, [pack(n << 8, 24, Family.IPV4) for n in range(5)])
    data, _ = encode(batch, OURS, 1)
    ask_for_ack(data, message_size(batch, OURS))
    flags = [flags & NLM_F_ACK for _, flags, _, _, _ in messages(bytes(data))]
    assert flags == [0, 0, 0, 0, NLM_F_ACK]


def test_a_metric_of_a_batch_goes_before_our_own() -> None:
    batch = RouteBatch(RouteOp.DELETE, Family.IPV4, None, [pack(10 << 24, 8, Family.IPV4)], metric=7)
    data, _ = encode(batch, OURS, 1)
    route = parse_route(Family.IPV4, bytes(data), HEADER.size, len(data))
    assert route is not None
    assert route.metric == 7


@given(st.binary(max_size=64))
def test_attributes_that_are_cut_short_end_the_walk(data: bytes) -> None:
    attributes(data, 0, len(data))
    list(messages(data))


def test_attributes_are_padded_to_four_octets() -> None:
    assert len(attribute(1, b"abcde")) == 12
    assert attributes(attribute(1, b"abcde") + attribute(0x8002, b"x"), 0, 20) == {1: b"abcde", 2: b"x"}
