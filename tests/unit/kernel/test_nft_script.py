"""The nft script as text."""
from __future__ import annotations

from ipaddress import ip_address

import pytest

from calicopy.kernel.nft import Counted, NftSpec, render
from calicopy.net import Decapsulation, Encapsulation, Prefix

EVERYTHING = (
    Decapsulation(Encapsulation.IPIP), Decapsulation(Encapsulation.VXLAN, 4789, 4096),
    Decapsulation(Encapsulation.UDP, 8285),
)  # fmt: skip


def prefixes(*texts: str) -> tuple[Prefix, ...]:
    return tuple(map(Prefix.parse, texts))


@pytest.mark.parametrize(
    ("spec", "chains"),
    [
        (NftSpec(), []),
        (NftSpec(nat_sources=prefixes("10.0.0.0/16")), ["postrouting"]),
        (NftSpec(nat_sources=prefixes("fd00::/48")), ["postrouting"]),
        (NftSpec(guarded=EVERYTHING[:1]), ["input", "forward"]),
        (NftSpec(nat_sources=prefixes("10.0.0.0/16"), guarded=EVERYTHING), ["postrouting", "input", "forward"]),
    ],
)
def test_the_script_begins_by_removing_the_own_table_and_has_the_chains_that_are_needed(
    spec: NftSpec, chains: list[str]
) -> None:
    script = render(spec, {})
    assert script.startswith("table inet calicopy { }\ndelete table inet calicopy\n")
    assert [line.split()[1] for line in script.splitlines() if line.startswith("  chain")] == chains


def test_what_leaves_a_pool_for_outside_all_pools_and_exclusions_is_translated_in_both_families() -> None:
    spec = NftSpec(prefixes("11.0.0.0/16", "fd00::/48"), prefixes("10.0.0.0/16", "11.0.0.0/16", "172.16.0.0/12"))
    script = render(spec, {})
    inside = "10.0.0.0/16, 11.0.0.0/16, 172.16.0.0/12"
    assert f"ip saddr {{ 11.0.0.0/16 }} ip daddr != {{ {inside} }} counter name nat_ipv4 masquerade" in script
    assert "ip6 saddr { fd00::/48 } ip6 daddr != { fd00::/48 } counter name nat_ipv6 masquerade" in script


def test_the_order_of_prefixes_does_not_matter_and_none_is_listed_inside_another() -> None:
    one = NftSpec(prefixes("10.0.0.0/16"), prefixes("10.0.0.0/8", "10.0.0.0/16", "192.0.2.0/24"))
    other = NftSpec(prefixes("10.0.0.0/16"), prefixes("192.0.2.0/24", "10.0.0.0/16", "10.0.0.0/8"))
    assert render(one, {}) == render(other, {})
    assert "daddr != { 10.0.0.0/8, 192.0.2.0/24 }" in render(one, {})


def test_each_encapsulation_is_taken_from_senders_alone() -> None:
    script = render(NftSpec(guarded=EVERYTHING, senders=(ip_address("192.0.2.2"), ip_address("2001:db8::2"))), {})
    assert "set senders_ipv4 { type ipv4_addr; elements = { 192.0.2.2 } }" in script
    assert "set senders_ipv6 { type ipv6_addr; elements = { 2001:db8::2 } }" in script
    rules = [line.split(" comment ")[0].strip() for line in script.splitlines() if " drop " in line]
    to_us = [
        "ip protocol 4 ip saddr != @senders_ipv4 counter name dropped_ipip drop",
        "udp dport 4789 @th,96,24 4096 ip saddr != @senders_ipv4 counter name dropped_vxlan drop",
        "udp dport 4789 @th,96,24 4096 ip6 saddr != @senders_ipv6 counter name dropped_vxlan drop",
        "udp dport 4789 frag more-fragments 1 ip6 saddr != @senders_ipv6 counter name dropped_vxlan drop",
        "udp dport 8285 ip saddr != @senders_ipv4 counter name dropped_udp drop",
        "udp dport 8285 ip6 saddr != @senders_ipv6 counter name dropped_udp drop",
    ]
    assert rules[: len(to_us)] == to_us
    to_nodes = [
        rule.replace("@senders_ipv4", "@senders_ipv4 ip daddr @senders_ipv4")
        .replace("@senders_ipv6", "@senders_ipv6 ip6 daddr @senders_ipv6")
        for rule in to_us
    ]
    assert rules[len(to_us) :] == to_nodes, "what is forwarded may be for anybody but nodes"


def test_counters_begin_where_they_were_and_make_no_difference_to_the_digest() -> None:
    spec = NftSpec(guarded=EVERYTHING[:1])
    before, after = render(spec, {}), render(spec, {"dropped_ipip": Counted(3, 312), "gone": Counted(1, 1)})
    assert "counter dropped_ipip { packets 3 bytes 312 }" in after
    assert before.splitlines()[4:] == after.splitlines()[4:]
    assert "gone" not in after
