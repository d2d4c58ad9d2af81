"""The BGP wire codec: octets to values and back, with no I/O, no clock and no state between messages.

Theory of operation: ExaBGP hands every message over as raw octets; this package alone knows what they mean. Decoders
of UPDATE never raise, they give verdicts (RFC 7606); decoders of the rare messages (OPEN, NOTIFICATION,
ROUTE-REFRESH) raise typed errors or say in words what they could not read. Values are frozen, and prefixes stay
packed.
"""

from __future__ import annotations

from calicopy.bgp.as_path import AsPath, Segment, SegmentKind
from calicopy.bgp.attributes import Aggregator, AttributeCode, LargeCommunity, Origin, PathAttributes, RawAttribute
from calicopy.bgp.capabilities import Capabilities, Fqdn, GracefulRestart, LongLivedFamily, PathMode
from calicopy.bgp.communities import (
    format_community,
    format_large_community,
    parse_community,
    parse_large_community,
)
from calicopy.bgp.encode import attribute_list, encode_attributes, encode_end_of_rib, encode_update
from calicopy.bgp.notification import Notification, decode_notification, encode_notification
from calicopy.bgp.open import Negotiated, Open, OpenError, decode_open, encode_open, negotiate
from calicopy.bgp.refresh import RefreshError, RefreshKind, RouteRefresh, decode_route_refresh, encode_route_refresh
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.update import AttributeCache, NlriBatch, Update, decode_update
from calicopy.bgp.verdict import Fault, FaultKind, Verdict

__all__ = [
    "Aggregator",
    "AsPath",
    "AttributeCache",
    "AttributeCode",
    "Capabilities",
    "Fault",
    "FaultKind",
    "Fqdn",
    "GracefulRestart",
    "LargeCommunity",
    "LongLivedFamily",
    "Negotiated",
    "NlriBatch",
    "Notification",
    "Open",
    "OpenError",
    "Origin",
    "PathAttributes",
    "PathMode",
    "RawAttribute",
    "RefreshError",
    "RefreshKind",
    "RouteRefresh",
    "Segment",
    "SegmentKind",
    "SessionOptions",
    "Update",
    "Verdict",
    "attribute_list",
    "decode_notification",
    "decode_open",
    "decode_route_refresh",
    "decode_update",
    "encode_attributes",
    "encode_end_of_rib",
    "encode_notification",
    "encode_open",
    "encode_route_refresh",
    "encode_update",
    "format_community",
    "format_large_community",
    "negotiate",
    "parse_community",
    "parse_large_community",
]
