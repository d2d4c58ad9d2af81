"""Routes to rtnetlink messages, many at a time.

Theory of operation: the messages of a batch differ in the destination only. So one message is made as a template,
repeated, and the destinations are copied into the copies in a few strided passes, as wide as they allow: some 30 ns a
route, so that the kernel is the limit. All of them have one sequence number: a message that fails is answered with the
message itself, destination and all. Prefixes are grouped by length first, since the length sits in the message's head.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Literal

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
_LENGTH_AT = HEADER.size + 1
_DST_AT = HEADER.size + RTMSG.size + ATTRIBUTE.size
_LENGTH_OF = itemgetter(0)
_WORDS: tuple[tuple[int, Literal["Q", "I", "H", "B"]], ...] = ((8, "Q"), (4, "I"), (2, "H"), (1, "B"))
"""Octets that can be copied at once, and their code in `struct`."""


@dataclass(frozen=True, slots=True)
class Identity:
    """By what our routes are known: rtm_protocol, and the metric (RTA_PRIORITY) that makes their key ours."""

    protocol: int
    metric: int


def template_of(batch: RouteBatch, identity: Identity) -> bytes:
    """One message of the batch, with no destination and no sequence number yet."""
    metric = identity.metric if batch.metric is None else batch.metric
    return _template(batch.op, batch.family, batch.target, metric, identity.protocol)


def encode(template: bytes, prefixes: list[Packed], *, sequence: int) -> bytearray:
    """A message for each prefix, all under one sequence number, in the order of their lengths."""
    data = bytearray()
    for length, part in _by_length(prefixes):
        one = bytearray(template)
        one[8:12] = U32.pack(sequence)
        one[_LENGTH_AT] = length
        data += _fill(one, part)
    return data


def destination(message: bytes) -> Packed:
    """The prefix of a message that `encode` made."""
    length = message[_LENGTH_AT]
    return message[_LENGTH_AT : _LENGTH_AT + 1] + message[_DST_AT : _DST_AT + (length + 7) // 8]


def _by_length(prefixes: list[Packed]) -> Iterator[tuple[int, list[Packed]]]:
    lengths = set(map(_LENGTH_OF, prefixes))
    if len(lengths) == 1:
        yield lengths.pop(), prefixes
        return
    for length in sorted(lengths):
        yield length, [packed for packed in prefixes if packed[0] == length]


@lru_cache(maxsize=4096)  # one for each target and operation; building it costs more than a hundred copies
def _template(op: RouteOp, family: Family, target: RouteTarget | None, metric: int, protocol: int) -> bytes:
    body = _head(family, target, protocol) + attribute(RTA_DST, bytes(family.octets))
    body += attribute(RTA_PRIORITY, U32.pack(metric))
    if op is not RouteOp.DELETE:
        assert target is not None
        body += _hops(target)
    kind = RTM_DELROUTE if op is RouteOp.DELETE else RTM_NEWROUTE
    return HEADER.pack(HEADER.size + len(body), kind, _FLAGS[op], 0, 0) + body


def _head(family: Family, target: RouteTarget | None, protocol: int) -> bytes:
    number = ADDRESS_FAMILY[family]
    if target is None:
        return RTMSG.pack(number, 0, 0, 0, RT_TABLE_MAIN, protocol, RT_SCOPE_NOWHERE, RTN_UNSPEC, 0)
    # The kernel knows scopes for IPv4 only. RTNH_F_ONLINK of a single hop lives in the message's own flags.
    scope = RT_SCOPE_LINK if target.link_scope and family is Family.IPV4 else RT_SCOPE_UNIVERSE
    kind = RTN_BLACKHOLE if target.kind is RouteKind.BLACKHOLE else RTN_UNICAST
    flags = RTNH_F_ONLINK if len(target.hops) == 1 and target.hops[0].onlink else 0
    return RTMSG.pack(number, 0, 0, 0, RT_TABLE_MAIN, protocol, scope, kind, flags)


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


def _fill(template: bytearray, prefixes: list[Packed]) -> bytearray:
    """A copy of the template for each prefix; all are of one length."""
    data, octets = template * len(prefixes), bytearray().join(prefixes)
    stride = len(prefixes[0])
    del octets[::stride]  # the lengths
    width = stride - 1
    if width:
        size, code = next(word for word in _WORDS if (width | _DST_AT | len(template)) % word[0] == 0)
        target, source = memoryview(data).cast(code), memoryview(octets).cast(code)
        for column in range(width // size):
            target[_DST_AT // size + column :: len(template) // size] = source[column :: width // size]
    return data


__all__ = ["Identity", "destination", "encode", "template_of"]
