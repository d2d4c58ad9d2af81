"""IPIP on a kernel that has it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.uml


def test_a_ping_through_tunl0_is_seen_on_the_wire_as_ip_in_ip(run_with_ipip: Callable[..., tuple[int, str]]) -> None:
    code, output = run_with_ipip("tunnel.py")
    assert code == 0, output
    assert " 0% packet loss" in output
    assert "outer 192.0.2.1 > 192.0.2.2 protocol 4  inner 10.1.0.1 > 10.2.0.1 protocol 1" in output
    assert "outer 192.0.2.2 > 192.0.2.1 protocol 4  inner 10.2.0.1 > 10.1.0.1 protocol 1" in output


@pytest.mark.timeout(480)
def test_agents_tunnel_between_subnets_and_route_within_one(run_with_ipip: Callable[..., tuple[int, str]]) -> None:
    code, output = run_with_ipip("cross_subnet.py", timeout_s=450)
    assert code == 0, output
    across = r"a1 > b1: outer {} > {} protocol 4  inner 10\.244\.\S+ > 10\.244\.\S+ protocol 1"
    assert re.search(across.format(r"192\.0\.2\.1", r"192\.0\.2\.129"), output)
    assert re.search(across.format(r"192\.0\.2\.129", r"192\.0\.2\.1"), output)
    assert re.search(r"ipip, IPv4: a1 > b1 \S+: ping [\d.]+ ms, iperf3 \d+ Mbit/s", output)
    within, _, always = output.partition("mode: always")
    assert re.search(r"a1 > a2: outer 10\.244\.\S+ > 10\.244\.\S+ protocol 1$", within, re.MULTILINE)
    assert "a1 > a2: outer 192.0.2.1 > 192.0.2.2 protocol 4  inner 10.244." in always
    assert re.search(r"kill -9 of the agents of a1 and b1 under a ping: (\d+) packets transmitted, \1 received", output)


@pytest.mark.timeout(320)
def test_a_route_with_two_members_leads_through_tunl0_to_both(run_with_ipip: Callable[..., tuple[int, str]]) -> None:
    code, output = run_with_ipip("ecmp_tunnel.py", timeout_s=300)
    assert code == 0, output
    for end in ("192.0.2.2", "192.0.2.3"):
        assert f"nexthop via {end} dev tunl0 weight 1 onlink" in output
    assert "64 flows of 2 packets: 0 to a, 128 to b" in output


@pytest.mark.timeout(480)
def test_a_pool_is_switched_to_ipip_while_the_nodes_follow(run_with_ipip: Callable[..., tuple[int, str]]) -> None:
    code, output = run_with_ipip("switch.py", timeout_s=450)
    assert code == 0, output
    assert "lost: " in output
