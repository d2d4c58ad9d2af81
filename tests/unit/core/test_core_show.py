"""What the core shows of itself."""
from __future__ import annotations

import pytest
from corescript import N2, N3, Script, node, snapshot

from calicopy.core import events as ev
from calicopy.core import show
from calicopy.core.views import PathState, RouteQuery, RouteView
from calicopy.net import Family, Prefix

OURS, THEIRS, OTHERS, OUTSIDE = "10.244.0.0/26", "10.244.1.0/26", "10.244.2.64/26", "10.9.0.0/26"


@pytest.fixture
def script() -> Script:
    """n2 has announced a block and something outside the pools, n3 a block."""
    script = Script(node(), snapshot(OURS)).boot().up(N2).up(N3)
    return script.hear(N2, THEIRS, OUTSIDE).hear(N3, OTHERS).end_of_rib(N2, N3)


def routes(script: Script, query: RouteQuery, *, peer: str = "", within: str = "") -> list[RouteView]:
    chosen = script.core.peers[peer] if peer else None
    prefix = Prefix.parse(within) if within else None
    pages = show.routes(script.core, query, peer=chosen, family=None, within=prefix)
    return [view for page in pages for view in page]


def names(views: list[RouteView]) -> list[str]:
    return [str(view.prefix) for view in views]


@pytest.mark.parametrize(
    ("query", "peer", "expected"),
    [
        (RouteQuery.ALL, "", [OUTSIDE, OURS, THEIRS, OTHERS]),
        (RouteQuery.ALL, N3, [OTHERS]),
        (RouteQuery.RECEIVED, N2, [OUTSIDE, THEIRS]),
        (RouteQuery.REJECTED, "", [OUTSIDE]),
        (RouteQuery.REJECTED, N3, []),
        (RouteQuery.INSTALLED, "", [OURS, THEIRS, OTHERS]),
        (RouteQuery.ADVERTISED, N2, [OURS]),
    ],
)
def test_routes_are_listed_in_order_by_query_and_peer(
    script: Script, query: RouteQuery, peer: str, expected: list[str]
) -> None:
    assert names(routes(script, query, peer=peer)) == expected


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        (THEIRS, [THEIRS]),
        ("10.244.1.7/32", [THEIRS]),
        ("10.244.1.0/30", [THEIRS]),
        ("10.244.0.0/22", [OURS, THEIRS, OTHERS]),
        ("10.244.2.0/24", [OTHERS]),
        ("10.8.0.0/32", []),
        ("0.0.0.0/0", [OUTSIDE, OURS, THEIRS, OTHERS]),
    ],
)
def test_one_prefix_is_found_itself_else_what_lies_in_it_and_what_holds_it(
    script: Script, within: str, expected: list[str]
) -> None:
    assert names(routes(script, RouteQuery.ALL, within=within)) == expected


def test_a_path_shows_its_owner_and_the_kernel_its_route_and_a_refused_one_its_reason(script: Script) -> None:
    outside, ours, theirs, _ = routes(script, RouteQuery.ALL)
    assert outside.paths[0].state is PathState.REJECTED
    assert outside.paths[0].reason is not None
    assert ours.paths[0].state is PathState.LOCAL
    assert (theirs.paths[0].owner, theirs.paths[0].state) == ("n2", PathState.BEST)
    assert theirs.kernel is not None
    assert theirs.kernel.text == "via 10.0.0.2 dev eth0"


def test_a_reason_picks_the_paths_that_have_it(script: Script) -> None:
    found = [
        str(view.prefix)
        for query in (RouteQuery.REJECTED, RouteQuery.ALL)
        for page in show.routes(script.core, query, peer=None, family=None, within=None, reason="outside-pools")
        for view in page
    ]
    assert found == [OUTSIDE, OUTSIDE]


def test_what_goes_while_a_list_is_shown_is_left_out(script: Script) -> None:
    pages = show.routes(script.core, RouteQuery.RECEIVED, peer=script.core.peers[N2], family=None, within=None)
    script.hear_withdrawn(N2, THEIRS)
    assert [str(view.prefix) for page in pages for view in page] == [OUTSIDE]


def test_a_session_shows_what_was_received_accepted_and_advertised(script: Script) -> None:
    view = show.peer_view(script.core, script.core.peers[N2], lambda now: now)
    (family,) = view.families
    assert (family.received, family.accepted, family.rejected, family.advertised) == (2, 1, 1, 1)
    assert family.end_of_rib_received
    assert family.end_of_rib_sent
    assert family.in_sync


def test_the_status_counts_addresses_by_family() -> None:
    pools = [{"cidr": "10.244.0.0/22"}, {"cidr": "fd00:10:244::/112"}]
    script = Script(node(1, pools=pools)).boot().wait(5.0)
    script.tell(ev.AddressRequested(1, "a", Family.IPV4), ev.AddressRequested(2, "a", Family.IPV6))
    script.tell(ev.AddressRequested(3, "b", Family.IPV6))
    view = show.status_view(script.core, version="", started_at=0.0, config_file="", counters={}, more=()).ipam
    assert (view.blocks, view.assigned, view.free) == (2, 3, 125)
    assert view.families == ((Family.IPV4, 1, 63), (Family.IPV6, 2, 62))
