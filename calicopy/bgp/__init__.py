"""The BGP wire codec: octets to values and back, with no I/O, no clock and no state between messages.

Theory of operation: ExaBGP hands every message over as raw octets; this package alone knows what they mean. Decoders of
UPDATE never raise, they give verdicts (RFC 7606); decoders of the rare messages (OPEN, NOTIFICATION, ROUTE-REFRESH) raise
typed errors or say in words what they could not read. Values are frozen, and prefixes stay packed.
"""
from __future__ import annotations

from calicopy.bgp.as_path import AsPath, Segment, SegmentKind
from calicopy.bgp.attributes import Aggregator, AttributeCode, LargeCommunity, Origin, PathAttributes, UnknownAttribute
from calicopy.bgp.session import SessionOptions
from calicopy.bgp.update import AttributeCache, NlriBatch, Update, decode_update
from calicopy.bgp.verdict import Fault, FaultKind, Verdict

__all__ = [
    "Aggregator",
    "AsPath",
    "AttributeCache",
    "AttributeCode",
    "Fault",
    "FaultKind",
    "LargeCommunity",
    "NlriBatch",
    "Origin",
    "PathAttributes",
    "Segment",
    "SegmentKind",
    "SessionOptions",
    "UnknownAttribute",
    "Update",
    "Verdict",
    "decode_update",
]
