"""Loading: from disk, whole results, warnings, examples, schema, speed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from calicopy.config import yamltree
from calicopy.config.errors import ClusterFileError, format_path
from calicopy.config.load import LoadResult, fields_of, load_bytes, load_file, load_text
from calicopy.config.model import ClusterConfig, LogLevel
from calicopy.config.schema import schema_text, write_schema
from calicopy.config.sections import Section
from calicopy.config.yamltree import MAX_BYTES, MAX_ERRORS
from calicopy.net import Encapsulation, EncapsulationMode, Family, Prefix

EXAMPLES = Path(__file__).parents[3] / "config"
SMALL = "nodes:\n- {name: a, address: 192.0.2.1/24}\npools:\n- cidr: 10.244.0.0/16\n"


def load(text: str) -> LoadResult:
    return load_text(text, filename="f.yaml")


def warnings_of(text: str) -> list[tuple[str, str]]:
    result = load(text)
    assert result.errors == (), [str(error) for error in result.errors]
    return [(warning.path, warning.message) for warning in result.warnings]


def test_a_small_file_gets_every_default() -> None:
    config = load(SMALL).require()
    node, pool = config.nodes[0], config.pools[0]
    assert config.cluster.asn == 64512
    assert (node.address, node.effective_router_id) == (IPv4Interface("192.0.2.1/24"), IPv4Address("192.0.2.1"))
    assert (pool.cidr, pool.block_length, pool.label) == (Prefix.parse("10.244.0.0/16"), 26, "10.244.0.0/16")
    assert (pool.encapsulation, pool.mode, pool.nat_outgoing) == (Encapsulation.NONE, EncapsulationMode.ALWAYS, False)
    assert (config.bgp.mesh, config.bgp.hold_time_s, config.bgp.graceful_restart_time_s) == (True, 9, 120)
    assert (config.agent.socket_path, config.agent.read_only_socket_path) == (
        "/run/calicopy/calicopy.sock",
        "/run/calicopy/calicopy-ro.sock",
    )
    assert (config.agent.route_protocol, config.agent.route_metric, config.agent.log_level) == (
        117,
        1024,
        LogLevel.INFO,
    )


def test_values_come_out_typed() -> None:
    config = load(
        """
cluster: {as: 4200000000}
nodes:
- name: a
  address6: 2001:db8::1/64
  router_id: 10.0.0.1
  as: 65001
  labels: {rack: r1, "topology.x/zone": "1"}
  blocks: ["fd00::40/122"]
pools:
- {cidr: "fd00::/64", node_selector: {rack: r1}}
bgp:
  mesh: false
  peers: [{address: "2001:db8::9", as: 65000, families: [ipv6, ipv4], password_file: /p}]
agent:
  socket: /tmp/x
  api: {listen: "[::]:7443", cert_file: /c, key_file: /k, client_ca_file: /a}
"""
    ).require()
    node, peer = config.nodes[0], config.bgp.peers[0]
    assert (node.asn, node.address6, node.labels["topology.x/zone"]) == (65001, IPv6Interface("2001:db8::1/64"), "1")
    assert node.blocks == (Prefix.parse("fd00::40/122"),)
    assert config.pools[0].block_length == 122
    assert peer.families == (Family.IPV6, Family.IPV4)
    assert (peer.asn, peer.label) == (65000, "2001:db8::9")
    assert config.agent.api is not None
    assert str(config.agent.api.listen) == "[::]:7443"
    assert config.agent.read_only_socket_path == "/tmp/x-ro"


def test_a_config_cannot_be_changed() -> None:
    config = load(SMALL).require()
    with pytest.raises(ValidationError):
        config.bgp.mesh = False  # type: ignore[misc]  # the point of the test


def test_a_config_made_in_code_is_checked_as_a_file_is() -> None:
    nodes = [{"name": "a", "address": "192.0.2.1/24"}, {"name": "b", "address": "192.0.2.1/24"}]
    with pytest.raises(ValidationError, match=r"nodes\[1\].address: two nodes have the address"):
        ClusterConfig.model_validate({"nodes": nodes})


def test_quoting_makes_a_text_of_every_trap() -> None:
    for text in ("no", "12:30", "010", "1_000", "2026-01-01", "true", "1.5", "5"):
        quoted = text.replace(":", "-").replace(" ", "-")
        config = load(f'nodes:\n- {{name: "{quoted}", address: 192.0.2.1/24}}\n').require()
        assert config.nodes[0].name == quoted


def test_warnings_leave_the_config_standing() -> None:
    assert warnings_of("nodes:\n- {name: a, address: 192.0.2.1/24}\n")[0][0] == "pools"
    assert warnings_of(SMALL + "  node_selector: {rack: z}\n") == [
        ("pools[0].node_selector", "no node of this file has the labels rack=z")
    ]
    assert warnings_of(SMALL + "bgp:\n  peers: [{address: 192.0.2.9, as: 1, node_selector: {rack: z}}]\n")[0][0] == (
        "bgp.peers[0].node_selector"
    )
    assert warnings_of(SMALL + "  mode: cross-subnet\n") == [("pools[0].mode", "has no effect: encapsulation is none")]
    assert warnings_of(SMALL + "bgp: {hold_time_s: 0}\n")[0][0] == "bgp.hold_time_s"
    assert warnings_of(SMALL + "bgp: {mesh: false, mesh_password_file: /x}\n")[0][0] == "bgp.mesh_password_file"
    assert "no IPv6 address" in warnings_of(SMALL + "bgp:\n  peers: [{address: '2001:db8::9', as: 1}]\n")[0][1]


def test_what_is_excluded_from_nat_to_no_effect_is_a_warning_and_a_prefix_around_a_pool_is_none() -> None:
    section = "nat_exclude: [10.0.0.0/8, {}]\n"
    nat = SMALL + "  nat_outgoing: true\n"
    inside, elsewhere = "10.244.1.0/24", "192.168.0.0/16"
    assert warnings_of(nat + section.format(elsewhere)) == []
    assert "expected a prefix outside of pools (pools[0].cidr" in warnings_of(nat + section.format(inside))[0][1]
    assert warnings_of(nat + section.format("10.1.0.0/16"))[0][1].startswith("has no effect: it lies inside another")
    for text, family in ((nat + section.format("fd00::/64"), "ipv6"), (SMALL + section.format(elsewhere), "ipv4")):
        assert warnings_of(text)[-1][1] == f"has no effect: no {family} pool has `nat_outgoing: true`"


def test_a_warning_waits_while_a_value_that_it_rests_on_is_refused() -> None:
    rules = "[{match: {family: ipv5}, action: accept}, {match: {length: 26}, action: reject}]"
    result = load(SMALL + "bgp:\n  import: [a]\n  filters:\n  - name: a\n    rules: " + rules + "\n")
    assert [error.path for error in result.errors] == ["bgp.filters[0].rules[0].match.family"]
    assert result.warnings == ()


def test_a_node_without_address_is_taken_and_said_to_be_out_of_the_mesh() -> None:
    text = "nodes:\n- {name: a, address: 192.0.2.1/24}\n- name: b\npools: [{cidr: 10.244.0.0/16}]\n"
    paths = [path for path, _ in warnings_of(text)]
    assert paths == ["nodes[1]", "nodes[1]"]


def test_a_pool_with_fewer_blocks_than_nodes_is_warned_of() -> None:
    text = "nodes:\n- {name: a, address: 192.0.2.1/24}\n"
    text += "- {name: b, address: 192.0.2.2/24}\npools: [{cidr: 10.244.0.0/26}]\n"
    assert warnings_of(text) == [("pools[0].cidr", "has room for 1 blocks of /26, and 2 nodes want one")]


def test_a_pool_of_a_family_that_a_node_has_no_address_of_is_warned_of() -> None:
    nodes = "nodes:\n- {name: a, address: 192.0.2.1/24}\n"
    six = "- {name: b, address6: '2001:db8::2/64', router_id: 192.0.2.2, labels: {six: 'yes'}}\n"
    (first, second) = warnings_of(nodes + six + "pools: [{cidr: 10.244.0.0/16}, {cidr: 'fd00::/112'}]\n")
    assert (first[0], first[1].partition(":")[0]) == ("pools[0].cidr", "selects b, without an `address`")
    assert (second[0], second[1].partition(":")[0]) == ("pools[1].cidr", "selects a, without an `address6`")
    fits = "pools: [{cidr: 'fd00::/112', node_selector: {six: 'yes'}}]\n"
    assert warnings_of(nodes + six + fits) == []


def test_one_peer_address_may_serve_two_racks() -> None:
    text = SMALL.replace("pools:", "- {name: b, address: 192.0.2.2/24}\npools:")
    text += "bgp:\n  peers:\n"
    text += "  - {name: x, address: 169.254.0.1, as: 1, nodes: [a]}\n"
    text += "  - {name: y, address: 169.254.0.1, as: 2, nodes: [b]}\n"
    assert load(text).errors == ()


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    result = load_file(str(tmp_path / "none.yaml"))
    assert result.config is None
    assert str(result.errors[0]) == f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory"
    with pytest.raises(ClusterFileError, match="cannot be read"):
        result.require()


def test_octets_that_are_not_utf8_are_placed() -> None:
    result = load_bytes("nodes:\n- name: é".encode() + b"\xff\n", filename="f")
    assert str(result.errors[0]) == "f:2:10: found the octet 0xff, expected UTF-8 text"


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm() -> None:
    assert load_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode(), filename="f").errors == ()


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "larger than 4 MiB" in load_file(str(path)).errors[0].message
    assert "larger than 4 MiB" in load("#" * (MAX_BYTES + 1)).errors[0].message


@pytest.mark.parametrize("reader", [yaml.BaseLoader, getattr(yaml, "CBaseLoader", yaml.BaseLoader)])
@pytest.mark.parametrize("text", ["nodes: " + "[" * 100_000, "nodes: " + "[ " * 900, "- " * 5000, "a: " + "{a: " * 999])
def test_nesting_without_end_is_refused_at_once(text: str, reader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltree, "_LOADER", reader)
    result = load(text)
    assert [error.message for error in result.errors] == ["nested more than 16 deep"]


@pytest.mark.parametrize("text", ["a{}: 1\n", "a{}: no\n"])
def test_thousands_of_errors_are_bounded(text: str) -> None:
    result = load("".join(text.format(number) for number in range(5000)))
    assert len(result.errors) == MAX_ERRORS + 1
    assert result.errors[-1].message == f"more than {MAX_ERRORS} errors: the rest is not shown"


def test_five_hundred_nodes_load_in_less_than_the_agent_notices() -> None:
    nodes = "".join(
        f"- name: n{i}\n  address: 192.0.{i // 250}.{i % 250 + 1}/16\n  labels: {{zone: z{i % 4}, rack: r{i}}}\n"
        for i in range(500)
    )
    text = f"nodes:\n{nodes}pools:\n- cidr: 10.0.0.0/8\n"
    best = 9.0
    for _ in range(5):
        begin = time.process_time()
        assert load(text).errors == ()
        best = min(best, time.process_time() - begin)
    assert best < 0.3


def test_an_agent_can_load_a_hundred_times_invalid_then_valid() -> None:
    for _ in range(50):
        assert load(SMALL + "  block_size: 8\n").config is None
        assert load(SMALL).config is not None


def test_paths_are_shown_as_people_write_them() -> None:
    assert format_path(()) == ""
    assert format_path(("pools", 1, "cidr")) == "pools[1].cidr"
    assert format_path(("nodes", 0, "labels", "a.b/c")) == 'nodes[0].labels["a.b/c"]'


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.yaml"))])
def test_every_example_is_valid_without_a_warning(name: str) -> None:
    result = load_file(str(EXAMPLES / f"{name}.yaml"))
    assert (result.errors, result.warnings) == ((), ())
    assert result.config is not None


def test_the_full_example_has_every_key_with_its_default() -> None:
    text = (EXAMPLES / "full.yaml").read_text()
    config = load(text).require()
    least = "nodes: [{name: n1, address: 192.0.2.1/24}]\npools: [{cidr: 10.244.0.0/16}]\n"
    least += "bgp:\n  peers: [{address: 192.0.2.254, as: 64512, import: [example]}]\n"
    least += '  communities: [{prefix: 10.244.0.0/16, communities: ["64512:100"]}]\n'
    least += (
        "  filters: [{name: example, rules: [{match: {prefix: [{in: 10.0.0.0/8}], as_path: {}}, action: reject}]}]\n"
    )
    assert config == load(least).require()
    commented = text
    for key in ("api", "auth", "bfd"):
        commented = re.sub(rf"^( +){key}: null", rf"\1# {key}: null", commented, flags=re.MULTILINE)
        commented = commented.replace(f"  # {key}:\n", f"  {key}:\n")
    commented = commented.replace("  #   ", "    ")
    seen = set()
    for part in parts_of(load(commented).require()):
        kind = type(part)
        seen.add(kind)
        given = {str(kind.model_fields[name].validation_alias or name) for name in part.model_fields_set}
        assert given == set(fields_of(kind)), kind
    assert seen == kinds_of(ClusterConfig)


def parts_of(part: Section) -> Iterator[Section]:
    """The part and every part below it."""
    yield part
    for name in type(part).model_fields:
        value = getattr(part, name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Section):
                yield from parts_of(inner)


def kinds_of(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and every model below it."""
    below = (inner for inner, _ in fields_of(kind).values() if inner is not None)
    return {kind}.union(*(kinds_of(inner) for inner in below))


def test_the_schema_in_the_tree_is_current(tmp_path: Path) -> None:
    assert (EXAMPLES / "schema.json").read_text() == schema_text(), (
        "write it anew: calicopy config schema > config/schema.json"
    )
    write_schema(str(tmp_path / "schema.json"))
    assert json.loads((tmp_path / "schema.json").read_text())["properties"].keys() == fields_of(ClusterConfig).keys()


def test_every_key_of_the_schema_is_described() -> None:
    schema = json.loads(schema_text())
    for kind in (schema, *schema["$defs"].values()):
        assert kind["additionalProperties"] is False
        for key, inner in kind["properties"].items():
            assert inner.get("description") or "$ref" in inner, key


def test_importing_the_package_loads_neither_pydantic_nor_yaml() -> None:
    code = "import sys, calicopy.config, calicopy.config.errors\n"
    code += "print([m for m in ('pydantic', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_documentation_names_every_key_and_its_example_is_valid() -> None:
    text = (EXAMPLES.parent / "docs" / "configuration.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    assert load(example).errors == ()
    for kind in kinds_of(ClusterConfig):
        missing = [key for key in fields_of(kind) if f"`{key}`" not in text]
        assert not missing, kind


def test_the_model_loads_no_io_library() -> None:
    code = "import sys, calicopy.config.model, calicopy.config.resolve, calicopy.config.detect\n"
    code += "print([m for m in ('yaml', 'grpc', 'click', 'rich', 'pyroute2', 'exabgp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
