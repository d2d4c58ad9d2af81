"""A core that is given another cluster file ends as one that began with it."""
from __future__ import annotations

from typing import Any

from corescript import Script, node, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.config.resolve import NodeConfig
from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.net import Family, Prefix
from calicopy.seam import speaker as sp

LONG_S = 200.0  # longer than the linger time and than any restart time
BLOCKS = {"10.0.0.2": "10.244.0.64/26", "10.0.0.3": "10.244.0.128/26", "10.0.0.9": "10.244.0.192/26"}

TOR = {"name": "tor", "address": "10.0.0.9", "as": 64600}
N2 = {"name": "second", "address": "10.0.0.2", "as": 64512, "nodes": ["n1"]}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Sections of a cluster file of three nodes and a ToR."""
    peers = draw(st.lists(st.sampled_from(["tor", "n2"]), unique=True))
    entries = {
        "tor": {**TOR, "trust_owner": draw(st.booleans()), "prefix_limit": draw(st.sampled_from([1, 100]))},
        "n2": {**N2, "hold_time_s": draw(st.sampled_from([9, 30]))},
    }
    mesh = draw(st.booleans()) if "n2" not in peers else False
    pool = {
        "cidr": draw(st.sampled_from(["10.244.0.0/22", "10.244.0.0/25"])),
        "block_size": 26,
        "encapsulation": draw(st.sampled_from(["none", "ipip"])),
        "nat_outgoing": draw(st.booleans()),
    }
    return {
        "pools": [pool],
        "cluster": {"as": draw(st.sampled_from([64512, 64513]))} if not peers else {},
        "bgp": {
            "mesh": mesh,
            "peers": [entries[name] for name in peers],
            "multipath_relax": draw(st.booleans()),
            "multipath_max_paths": draw(st.sampled_from([1, 16])),
        },
    }


def bring_up(script: Script) -> None:
    """Every session that the file has and that is not up comes up, and tells its block."""
    for key, peer in list(script.core.peers.items()):
        if peer.is_up or peer.lingering_since is not None:
            continue
        script.up(key)
        script.hear(key, BLOCKS[key])
        script.end_of_rib(key)


def close_lingering(script: Script) -> None:
    """The peers close the sessions that linger, and their restart time passes."""
    for key in [key for key, peer in script.core.peers.items() if peer.lingering_since is not None]:
        script.tell(sp.PeerDown(key, "closed"))
    script.wait(LONG_S)


def outcome(script: Script) -> dict[str, Any]:
    """What the core makes of it all."""
    core = script.core
    routes = {
        str(Prefix(family, packed)): sorted((path.peer.key, path.peer.name) for path in selection.paths)
        for family in Family
        for packed in core.rib.prefixes(family)
        if (selection := core.rib.selection(family, packed)) is not None
    }
    rejected = {
        (str(Prefix(family, packed)), view.path.peer.key, view.reason)
        for family in Family
        for packed in core.rib.prefixes(family)
        for view in core.rib.lookup(family, packed)
    }
    return {
        "routes": routes,
        "rejected": rejected,
        "kernel": {family: dict(core.fib.desired(family)) for family in Family},
        "held": dict(script.kernel),
        "announced": {key: core.exports.desired(key, Family.IPV4) for key in core.peers},
        "told": {key: dict(core.exports.out.told(key, Family.IPV4)) for key in core.peers},
        "peers": {key: (peer.configured, peer.later, peer.lingering_since) for key, peer in core.peers.items()},
        "own": script.own,
        "context": core.rib.context,
    }


def last(script: Script, kind: type[Any]) -> Any:
    """The last command of a kind."""
    found = script.seen(kind)
    return found[-1] if found else None


def sessions(script: Script) -> Any:
    """The sessions that the speaker was asked for last."""
    return {spec.peer_address: spec for spec in last(script, do.SetSessions).sessions}


def start(config: NodeConfig) -> Script:
    return Script(config, snapshot("10.244.0.0/26"), kernel=("10.244.0.0/26",)).boot()


@settings(max_examples=40)
@given(chain=st.lists(files(), min_size=2, max_size=4), heard=st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_core_that_was_reconfigured_equals_one_that_began_with_the_last_file(
    chain: list[dict[str, Any]], heard: list[bool]
) -> None:
    """Whether sessions came up between the changes or not."""
    configs = [node(**parts) for parts in chain]
    changed = start(configs[0])
    for config, up in zip(configs[1:], heard, strict=False):
        if up:
            bring_up(changed)
        changed.node = config
        changed.tell(ev.ConfigChanged(config))
    bring_up(changed)
    changed.wait(LONG_S)
    close_lingering(changed)

    fresh = start(configs[-1])
    bring_up(fresh)
    fresh.wait(2 * LONG_S)
    assert sessions(changed) == sessions(fresh)
    assert last(changed, do.SetHost) == last(fresh, do.SetHost)
    assert outcome(changed) == outcome(fresh)


@settings(max_examples=30)
@given(one=files(), other=files())
def test_a_session_whose_settings_stay_keeps_its_peer(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = node(**one), node(**other)
    script = start(first)
    bring_up(script)
    before = {key: (peer, peer.state, peer.changed_at) for key, peer in script.core.peers.items()}
    script.tell(ev.ConfigChanged(second))
    for session in set(first.sessions) & set(second.sessions):
        key = str(session.address)
        peer = script.core.peers[key]
        assert (peer, peer.state, peer.changed_at) == before[key]
        assert peer is before[key][0]
