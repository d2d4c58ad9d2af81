"""The examples of docs/policy.md are taken by the configuration, and do what the text says."""
from __future__ import annotations

import re
from pathlib import Path

import yaml

from calicopy.bgp import AsPath, PathAttributes
from calicopy.config.model import ClusterConfig
from calicopy.config.resolve import NodeConfig, SessionConfig, resolve
from calicopy.net import Prefix
from calicopy.policy import Chain, Filter, PathFacts, PeerType, RouteSource

PAGE = Path(__file__).parents[3] / "docs" / "policy.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
OWN = PathFacts(frozenset({PeerType.EBGP}), RouteSource.OWN)
LEARNED = PathFacts(frozenset({PeerType.EBGP}), RouteSource.EBGP, "tor-a")


def node(example: str) -> NodeConfig:
    text = example if example.startswith("bgp:") else f"bgp:\n{example}"
    file = {"nodes": [{"name": "n1", "address": "192.0.2.1/24"}], "pools": [{"cidr": "10.244.0.0/16"}]}
    return resolve(ClusterConfig.model_validate({**file, **yaml.safe_load(text)}), "n1")


def chain(example: str, name: str) -> Chain:
    """One filter of an example, alone."""
    text = f"{example}  export: [{name}]\n" if "export:" not in example else example
    config = node(text)
    if not config.sessions:
        config = node(f"{text}  peers: [{{name: tor, address: 192.0.2.9, as: 64600}}]\n")
    found = next(each for each in config.sessions[0].export_filters if each.name == name)
    assert isinstance(found, Filter)
    return Chain((found,))


def passes(which: Chain, prefix: str, facts: PathFacts, attributes: PathAttributes | None = None) -> bool:
    parsed = Prefix.parse(prefix)
    prefix_class = which.class_of(parsed.family, parsed.packed)
    return which.judge(attributes or PathAttributes(), prefix_class, facts).accepted


def test_there_are_examples_and_each_is_taken() -> None:
    assert len(EXAMPLES) == 4
    for example in EXAMPLES:
        assert node(example).cluster.bgp.filters


def test_of_two_tors_the_first_is_preferred_and_the_fabric_gets_blocks_alone() -> None:
    sessions: dict[str, SessionConfig] = {each.name: each for each in node(EXAMPLES[0]).sessions}
    judged = Chain(sessions["tor-a"].import_filters).judge(PathAttributes(), 0, LEARNED)
    assert judged.attributes.local_pref == 200
    assert sessions["tor-b"].import_filters == ()
    out = Chain(sessions["tor-b"].export_filters)
    assert passes(out, "10.244.1.0/26", OWN)
    assert not passes(out, "10.244.1.1/32", OWN)
    assert not passes(out, "10.244.1.0/26", LEARNED)


def test_a_tor_is_taken_out_of_the_way_in_both_directions() -> None:
    out = chain(EXAMPLES[1], "maintenance-out").judge(PathAttributes(), 0, OWN)
    assert (out.prepend, out.attributes.communities) == (3, (0xFFFF0000,))
    assert chain(EXAMPLES[1], "maintenance-in").judge(PathAttributes(), 0, LEARNED).attributes.local_pref == 0


def test_of_a_gateway_two_ases_are_believed_and_no_host_route() -> None:
    which = chain(EXAMPLES[2], "gateway")
    near, far = (PathAttributes(as_path=AsPath.sequence(*asns)) for asns in ((64600, 1), (64600, 1, 2)))
    assert passes(which, "10.244.1.0/26", LEARNED, near)
    assert not passes(which, "10.244.1.0/26", LEARNED, far)
    assert not passes(which, "10.244.1.1/32", LEARNED, near)


def test_addresses_of_a_tenant_stay_inside() -> None:
    which = chain(EXAMPLES[3], "inside")
    assert not passes(which, "10.244.200.0/26", OWN)
    assert passes(which, "10.244.1.0/26", OWN)
    internal = PathFacts(frozenset({PeerType.IBGP}), RouteSource.OWN)
    assert passes(which, "10.244.200.0/26", internal)
