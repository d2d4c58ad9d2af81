"""The kernel edge's tunnel on a kernel that has IPIP."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.uml


def test_the_kernel_edge_brings_tunl0_up_routes_through_it_and_puts_it_right(
    run_with_ipip: Callable[..., tuple[int, str]],
) -> None:
    code, output = run_with_ipip("kernel_tunnel.py")
    assert code == 0, output
    assert "a: 10.2.0.1 via 192.0.2.2 dev tunl0 src 10.1.0.1" in output
    assert "outer 192.0.2.1 > 192.0.2.2 protocol 4  inner 10.1.0.1 > 10.2.0.1 protocol 1" in output
    assert "outer 192.0.2.2 > 192.0.2.1 protocol 4  inner 10.2.0.1 > 10.1.0.1 protocol 1" in output
