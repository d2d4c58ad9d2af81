"""Every event of the core comes back from a journal equal to what went in."""
from __future__ import annotations

import json
import typing

import corescript
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.config.nodeconfig import NodeConfig
from calicopy.core.commands import Command
from calicopy.core.events import CoreEvent
from calicopy.ipam import Snapshot
from calicopy.journal.codec import codec, decode, decode_any, encode
from calicopy.journal.lines import text
from calicopy.net import Family, Prefix, pack

KINDS = typing.get_args(CoreEvent)
FLOATS = st.floats(allow_nan=False)
PREFIXES = st.sampled_from(Family).flatmap(
    lambda family: st.builds(
        lambda network, length: Prefix(family, pack(network, length, family)),
        st.integers(0, (1 << family.bits) - 1),
        st.integers(0, family.bits),
    )
)
NODES = [corescript.node(), corescript.node(5)]


@pytest.fixture(autouse=True, scope="module")
def _strategies() -> None:
    st.register_type_strategy(float, FLOATS)
    st.register_type_strategy(Prefix, PREFIXES)
    st.register_type_strategy(NodeConfig, st.sampled_from(NODES))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_an_event_comes_back_from_its_json_equal(kind: type, data: st.DataObject) -> None:
    event = data.draw(st.from_type(kind))
    row = text(encode(CoreEvent, event))
    assert "\n" not in row
    assert decode_any(CoreEvent, json.loads(row)) == event


@settings(max_examples=15)
@given(st.data())
def test_what_ipam_has_on_disk_comes_back_equal(data: st.DataObject) -> None:
    found = data.draw(st.from_type(Snapshot))
    assert decode(Snapshot, json.loads(text(encode(Snapshot, found)))) == found


def test_every_command_has_a_form_in_a_journal() -> None:
    for kind in typing.get_args(Command):
        codec(kind)
