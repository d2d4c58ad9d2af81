"""The small values of messages: families, addresses as text, times."""
from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from calicopy.net import Family, IPAddress, Prefix
from calicopy.v1 import types_pb2

FAMILIES = {Family.IPV4: types_pb2.FAMILY_IPV4, Family.IPV6: types_pb2.FAMILY_IPV6}


def text(value: IPAddress | Prefix | None) -> str:
    """An address or prefix as text; empty for none."""
    return "" if value is None else str(value)


def timestamp(seconds: float) -> Timestamp | None:
    """Seconds since the epoch; None (an unset field) for 0, which stands for "never"."""
    if not seconds:
        return None
    whole = int(seconds // 1)
    return Timestamp(seconds=whole, nanos=int((seconds - whole) * 1e6) * 1000)
