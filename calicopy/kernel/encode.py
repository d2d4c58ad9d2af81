"""Routes to rtnetlink messages, many at a time.

Theory of operation: the messages of a batch differ in two places only, the sequence number and the destination. So one
message is made as a template, repeated, and the two places are filled in column by column with strided slices: octet k
of every destination at once. That costs some 30 ns a route, and the kernel is the limit. Prefixes are grouped by length
first, since the length sits in the message's head.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack

from calicopy.fib.types import Hop, RouteBatch, RouteKind, RouteOp, RouteTarget
from calicopy.kernel.netlink import (
    ADDRESS_FAMILY,
    ATTRIBUTE,
    HEADER,
    NEXTHOP,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_NH_ID,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTMSG,
    RTN_BLACKHOLE,
    RTN_UNICAST,
    RTN_UNSPEC,
    RTNH_F_ONLINK,
    U32,
    attribute,
)
from calicopy.net import Family, Packed

_FLAGS = {
    RouteOp.ADD: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
    RouteOp.REPLACE: NLM_F_REQUEST | NLM_F_REPLACE,
    RouteOp.DELETE: NLM_F_REQUEST,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """By what our routes are known: rtm_protocol, and the metric (RTA_PRIORITY) that makes their key ours."""

    protocol: int
    metric: int


def encode(batch: RouteBatch, identity: Identity, first_sequence: int) -> tuple[bytearray, list[Packed]]:
    """The messages of a batch, and its prefixes in the order of the sequence numbers, from `first_sequence` on."""
    data, order = bytearray(), list[Packed]()
    for length, prefixes in _by_length(batch.prefixes):
        template, dst_at = _template(batch, identity, length)
        data += _fill(template, dst_at, prefixes, batch.family.octets, first_sequence + len(order))
        order += prefixes
    return data, order


def message_size(batch: RouteBatch, identity: Identity) -> int:
    """Octets of each message of the batch."""
    return len(_template(batch, identity, 0)[0])


def _by_length(prefixes: list[Packed]) -> Iterator[tuple[int, list[Packed]]]:
    lengths = {packed[0] for packed in prefixes}
    if len(lengths) == 1:
        yield lengths.pop(), prefixes
        return
    for length in sorted(lengths):
        yield length, [packed for packed in prefixes if packed[0] == length]


def _template(batch: RouteBatch, identity: Identity, length: int) -> tuple[bytes, int]:
    """One message with an empty destination, and where the destination's octets begin."""
    octets = batch.family.octets
    metric = identity.metric if batch.metric is None else batch.metric
    body = _head(batch, identity.protocol, length) + attribute(RTA_DST, bytes(octets))
    dst_at = HEADER.size + RTMSG.size + ATTRIBUTE.size
    body += attribute(RTA_PRIORITY, U32.pack(metric))
    if batch.op is not RouteOp.DELETE:
        assert batch.target is not None
        body += _hops(batch.target)
    kind = RTM_DELROUTE if batch.op is RouteOp.DELETE else RTM_NEWROUTE
    return HEADER.pack(HEADER.size + len(body), kind, _FLAGS[batch.op], 0, 0) + body, dst_at


def _head(batch: RouteBatch, protocol: int, length: int) -> bytes:
    family, target = ADDRESS_FAMILY[batch.family], batch.target
    if target is None:
        return RTMSG.pack(family, length, 0, 0, RT_TABLE_MAIN, protocol, RT_SCOPE_NOWHERE, RTN_UNSPEC, 0)
    # The kernel knows scopes for IPv4 only. RTNH_F_ONLINK of a single hop lives in the message's own flags.
    scope = RT_SCOPE_LINK if target.link_scope and batch.family is Family.IPV4 else RT_SCOPE_UNIVERSE
    kind = RTN_BLACKHOLE if target.kind is RouteKind.BLACKHOLE else RTN_UNICAST
    flags = RTNH_F_ONLINK if len(target.hops) == 1 and target.hops[0].onlink else 0
    return RTMSG.pack(family, length, 0, 0, RT_TABLE_MAIN, protocol, scope, kind, flags)


def _hops(target: RouteTarget) -> bytes:
    if target.next_hop_id:
        return attribute(RTA_NH_ID, U32.pack(target.next_hop_id))
    if not target.hops:
        return b""
    if len(target.hops) == 1:
        hop = target.hops[0]
        return _gateway(hop) + attribute(RTA_OIF, U32.pack(hop.ifindex))
    members = bytearray()
    for hop in target.hops:
        gateway = _gateway(hop)
        flags = RTNH_F_ONLINK if hop.onlink else 0
        members += NEXTHOP.pack(NEXTHOP.size + len(gateway), flags, hop.weight - 1, hop.ifindex) + gateway
    return attribute(RTA_MULTIPATH, bytes(members))


def _gateway(hop: Hop) -> bytes:
    return b"" if hop.gateway is None else attribute(RTA_GATEWAY, hop.gateway.packed)


def _fill(template: bytes, dst_at: int, prefixes: list[Packed], octets: int, first_sequence: int) -> bytearray:
    count, size = len(prefixes), len(template)
    data = bytearray(template * count)
    sequences = pack(f"={count}I", *range(first_sequence, first_sequence + count))
    for column in range(4):
        data[8 + column :: size] = sequences[column::4]
    joined, stride = b"".join(prefixes), len(prefixes[0])
    for column in range(min(octets, stride - 1)):
        data[dst_at + column :: size] = joined[1 + column :: stride]
    return data


__all__ = ["Identity", "encode", "message_size"]
