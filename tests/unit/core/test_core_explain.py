"""What `explain` says: the verdict, the step that decided with its values, and why something is nowhere."""
from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address

import pytest
import simparts
from corescript import N2, N3, Script, node, snapshot

from calicopy.core import events as ev
from calicopy.core.explain.explain import explain
from calicopy.core.views import ExplainedPathView, ExplainView, PathState
from calicopy.fib import Hop, KernelMatch, RouteKind, RouteTarget
from calicopy.net import Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.seam import speaker as sp

OURS, THEIRS, FREE = "10.244.0.0/26", "10.244.1.0/26", "10.244.3.0/26"
A, B, C = "10.0.0.11", "10.0.0.12", "10.0.0.13"
PEERS = [{"name": name, "address": address, "as": 64512} for name, address in (("a", A), ("b", B), ("c", C))]


@pytest.fixture
def script() -> Script:
    """n1 with a block, two nodes, and three internal peers that are no nodes."""
    script = Script(node(bgp={"peers": PEERS}), snapshot(OURS, used="10.244.0.5")).boot()
    for peer in (N2, N3, A, B, C):
        script.up(peer)
    script.hear(N2, THEIRS, "10.9.0.0/26")
    return script.end_of_rib(N2, N3, A, B, C)


def say(script: Script, peer: str, prefix: str, *, local_pref: int = 100, as_path: tuple[int, ...] = (), med: int = 0,
        next_hop: str = "", origin: int = 0, communities: tuple[int, ...] = ()) -> None:  # fmt: skip
    """A path without an owner, with these attributes."""
    segment = bytes((2, len(as_path))) + b"".join(asn.to_bytes(4, "big") for asn in as_path) if as_path else b""
    values = {1: bytes((origin,)), 2: segment, 5: local_pref.to_bytes(4, "big"), 4: med.to_bytes(4, "big")}
    if communities:
        values[8] = b"".join(community.to_bytes(4, "big") for community in communities)
    flags = {4: 0x80, 8: 0xC0}
    attributes = [
        sp.RawAttribute(flags=flags.get(code, 0x40), code=code, value=value) for code, value in values.items()
    ]
    body = simparts.update_body([prefix], next_hop=next_hop or peer, attributes=attributes)
    script.tell(sp.UpdatesReceived(peer, (body,)))


def asked(script: Script, target: str, match: KernelMatch | None = None) -> ExplainView:
    return explain(script.core, Prefix.parse(target), match)


def of(view: ExplainView, peer: str) -> ExplainedPathView:
    return next(one for one in view.paths if one.path.peer == peer)


CASES = [
    ("local-pref", {"local_pref": 200}, {}, "local-pref: 200 > 100 (RFC 4271 9.1.1)"),
    ("as-path", {}, {"as_path": (65001,)}, "as-path: 0 < 1 (RFC 4271 9.1.2.2 a)"),
    ("origin", {}, {"origin": 2}, "origin: igp < incomplete (RFC 4271 9.1.2.2 b)"),
    ("med", {"med": 5}, {"med": 9}, "med: 5 < 9 (RFC 4271 9.1.2.2 c)"),
    ("router-id", {"next_hop": N2}, {"next_hop": N2},
     "router-id: 10.0.0.11 < 10.0.0.12 (RFC 4271 9.1.2.2 f, RFC 4456 9)"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "winner", "loser", "words"), CASES, ids=[case[0] for case in CASES])
def test_the_step_that_decided_is_named_with_both_values(script: Script, step, winner, loser, words) -> None:
    say(script, A, FREE, **winner)
    say(script, B, FREE, **loser)
    view = asked(script, FREE)
    best, lost = of(view, "a"), of(view, "b")
    assert best.comparison is not None
    assert (best.comparison.step, best.comparison.message, best.comparison.other_peer) == (step, words, "b")
    assert best.why == f"decided by {words}, against b"
    assert lost.comparison is not None
    assert (lost.comparison.step, lost.comparison.value) == (step, best.comparison.other_value)
    assert lost.why.startswith(f"lost at {step}: {best.comparison.other_value}")
    assert view.verdict.endswith(f": learned from a, the best of 2 paths: {words}")


def test_of_three_paths_the_last_step_at_which_one_fell_is_what_decided(script: Script) -> None:
    say(script, A, FREE, local_pref=200, as_path=(65001,))
    say(script, B, FREE, local_pref=200, as_path=(65001, 65002))
    say(script, C, FREE, local_pref=100)
    view = asked(script, "10.244.3.9")
    assert of(view, "a").why == "decided by as-path: 1 < 2 (RFC 4271 9.1.2.2 a), against b"
    assert of(view, "b").why == "lost at as-path: 2 > 1 (RFC 4271 9.1.2.2 a)"
    assert of(view, "c").why == "lost at local-pref: 100 < 200 (RFC 4271 9.1.1)"
    assert view.verdict == (
        "10.244.3.9 (in 10.244.3.0/26) goes via 10.0.0.11 dev eth0: learned from a, the best of 3 paths: "
        "as-path: 1 < 2 (RFC 4271 9.1.2.2 a)"
    )


def test_a_path_that_lost_at_med_is_compared_with_its_own_neighbor_as(script: Script) -> None:
    say(script, A, FREE, as_path=(65001,), med=50)
    say(script, B, FREE, as_path=(65002,), med=7)
    say(script, C, FREE, as_path=(65002,), med=9)
    comparison = of(asked(script, FREE), "c").comparison
    assert comparison is not None
    assert (comparison.step, comparison.value, comparison.other_value, comparison.other_peer) == ("med", "9", "7", "b")


def test_paths_that_share_the_load_say_so_and_one_that_cannot_says_why(script: Script) -> None:
    say(script, A, FREE)
    say(script, B, FREE, next_hop=N2)
    say(script, C, FREE, next_hop=N2)
    view = asked(script, FREE)
    assert [one.path.state for one in view.paths] == [PathState.BEST, PathState.MULTIPATH, PathState.LOST]
    assert of(view, "b").why == "shares the load: equal to the best up to the metric"
    assert of(view, "c").why.endswith("; of equal cost, but the next hop of the path from b is the same")
    assert [hop.text for hop in view.hops] == ["via 10.0.0.11 dev eth0", "via 10.0.0.2 dev eth0"]


def test_a_next_hop_that_is_not_reached_is_named(script: Script) -> None:
    say(script, A, FREE)
    script.tell(ev.NextHopsResolved({ip_address(A): NextHopFacts.unreachable(ip_address(A))}))
    view = asked(script, FREE)
    assert of(view, "a").why == "lost at next-hop: 10.0.0.11 unreachable (RFC 4271 9.1.2.1)"
    assert view.verdict == f"10.244.3.0/26 has no route here: the one path, from a, is not used: {of(view, 'a').why}"


def test_a_refused_path_names_its_rule(script: Script) -> None:
    view = asked(script, "10.9.0.0/26")
    assert of(view, "n2").why == "refused: the prefix lies in no pool (calicopy)"
    assert view.found
    assert "has no route here" in view.verdict
    assert view.announcements == ()


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("10.8.0.1", "10.8.0.1 has no answer: it lies in no pool of the cluster file"),
        ("10.244.2.1", "10.244.2.1 has no route here: no node holds its block 10.244.2.0/26, and nobody announces it"),
        ("10.244.0.0/22", "10.244.0.0/22 has no route here: no block of pool 10.244.0.0/22 holds it"),
    ],
)
def test_where_there_is_nothing_it_says_why(script: Script, target: str, verdict: str) -> None:
    view = asked(script, target)
    assert not view.found
    assert view.prefix is None
    assert view.verdict.startswith(verdict)


def test_a_block_whose_node_has_gone_says_how_the_session_is(script: Script) -> None:
    script.hear_withdrawn(N2, THEIRS)
    assert asked(script, "10.244.1.4").verdict == (
        "10.244.1.4 has no route here: its block 10.244.1.0/26 is n2's, which does not announce it (its session is up)"
    )
    script.tell(sp.NotificationSeen(N2, sent=True, body=b"\x04\x00"), sp.PeerDown(N2, "closed"))
    assert "its session is down: hold timer expired (sent by us)" in asked(script, "10.244.1.4").verdict


def test_what_lies_inside_of_a_prefix_that_is_not_there_is_told(script: Script) -> None:
    (line,) = asked(script, "10.244.0.0/22").others
    assert line == "10.244.1.0/26 inside of it: `calicopy routes 10.244.0.0/22` shows all"


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (OURS, "10.244.0.0/26 is this node's own: announced to 5 of 5 peers"),
        ("10.244.0.5", "10.244.0.5 (in 10.244.0.0/26) is pod's, from a block of this node"),
        ("10.244.0.9", "10.244.0.9 (in 10.244.0.0/26) is a free address of this node's own block: nobody has it"),
    ],
)
def test_our_own_is_said_to_be_ours(script: Script, target: str, verdict: str) -> None:
    view = asked(script, target)
    assert view.verdict.startswith(verdict)
    assert view.holding.state == "confirmed"
    assert view.paths[0].path.state is PathState.LOCAL


def test_a_workload_is_named_by_its_handle_and_device() -> None:
    script = Script(node(), snapshot(OURS)).boot()
    script.tell(ev.AddressRequested(1, "workload:web", Prefix.parse(OURS).family))
    (record,) = script.core.ipam.held_by("workload:web")
    script.tell(ev.WorkloadsChanged({Prefix.host(record.address): 7}))
    view = asked(script, str(record.address))
    assert view.verdict == f"{record.address} is workload web on this node: dev if7 scope link"


def test_a_route_of_somebody_else_that_wins_over_ours_is_in_the_verdict(script: Script) -> None:
    other = KernelMatch(ip_address("10.244.1.7"), Prefix.parse("10.244.1.7/32"), protocol=4, table=254,
                        target=RouteTarget(RouteKind.UNICAST, (Hop(None, 2),)))  # fmt: skip
    view = asked(script, "10.244.1.7", other)
    assert view.verdict.endswith(
        "; BUT the kernel prefers a longer prefix: 10.244.1.7/32 dev eth0 proto static metric 0"
    )
    same = KernelMatch(ip_address("10.244.1.7"), Prefix.parse(THEIRS), protocol=2, metric=5, table=254,
                       target=RouteTarget(RouteKind.UNICAST, (Hop(None, 2),)))  # fmt: skip
    assert "BUT the kernel prefers another route for it, by metric" in asked(script, "10.244.1.7", same).verdict
    ours = KernelMatch(ip_address("10.244.1.7"), Prefix.parse(THEIRS), protocol=117, metric=1024, table=254,
                       target=RouteTarget(RouteKind.UNICAST, (Hop(ip_address(N2), 2),)))  # fmt: skip
    view = asked(script, "10.244.1.7", ours)
    assert "BUT" not in view.verdict
    assert view.match is not None
    assert view.match.ours


def test_the_kernels_drop_of_a_free_own_address_is_our_blackhole(script: Script) -> None:
    view = asked(script, "10.244.0.9", KernelMatch(ip_address("10.244.0.9"), errno=errno.EINVAL))
    assert view.match is not None
    assert (view.match.ours, view.match.text) == (True, "dropped by a blackhole route")


def test_to_whom_a_prefix_is_told_and_why_not(script: Script) -> None:
    assert {one.peer: one.announced for one in asked(script, OURS).announcements} == dict.fromkeys(
        ("a", "b", "c", "n2", "n3"), True
    )
    reasons = {one.reason.code for one in asked(script, THEIRS).announcements if one.reason is not None}
    assert reasons == {"not-own"}
    script.tell(sp.PeerDown(A, "closed"))
    told = {one.peer: one for one in asked(script, OURS).announcements}
    assert not told["a"].announced
    assert told["a"].reason is not None
    assert told["a"].reason.code == "session-down"


POOL = {"cidr": "10.244.0.0/22", "block_size": 26, "encapsulation": "ipip"}


@pytest.mark.parametrize(
    ("mode", "why", "text"),
    [
        ("always", "pool 10.244.0.0/22 has ipip, mode always", "via 10.0.0.2 dev if9 onlink"),
        ("cross-subnet", "pool 10.244.0.0/22 has ipip, mode cross-subnet, and the next hop is in the subnet of eth0",
         "via 10.0.0.2 dev eth0"),
    ],
)  # fmt: skip
def test_the_encapsulation_says_which_rule_made_it_so(mode: str, why: str, text: str) -> None:
    script = Script(node(pools=[{**POOL, "mode": mode}]), snapshot(OURS)).boot().up(N2).hear(N2, THEIRS)
    (hop,) = asked(script, THEIRS).hops
    assert (hop.encapsulation_why, hop.text) == (why, text)


FILTERS = [
    {"name": "prefer", "rules": [{"name": "far", "match": {"communities": ["64512:9"]}, "action": "reject"},
                                 {"match": {"from": ["a"]},
                                  "set": {"local_pref": 300, "add_communities": ["64512:7"]}}]},
]  # fmt: skip


def filtered() -> Script:
    bgp = {"filters": FILTERS, "peers": [{**peer, "import": ["prefer"]} for peer in PEERS]}
    script = Script(node(bgp=bgp), snapshot(OURS)).boot().up(A).up(B)
    for info in script.core.rib.peers():
        filters = script.core.peers[info.key].configured.import_filters
        script.core.rib.set_peer(replace(info, import_filters=filters))
    return script


def test_a_filter_that_refused_is_named_with_its_rule() -> None:
    script = filtered()
    say(script, A, FREE, communities=(0xFC000009,))
    view = asked(script, FREE)
    assert of(view, "a").why == "refused by filter prefer, rule far"
    assert of(view, "a").path.reason is not None
    assert of(view, "a").path.reason.code == "filter"


def test_what_import_policy_changed_is_told_with_its_rule() -> None:
    script = filtered()
    say(script, A, FREE)
    say(script, B, FREE, local_pref=200, communities=(0xFFFF0000,))
    view = asked(script, FREE)
    assert of(view, "a").changed == "local-pref 100 -> 300, community 64512:7 added: by filter prefer, rule 2"
    assert of(view, "b").changed == "local-pref 200 -> 0: by GRACEFUL_SHUTDOWN (RFC 8326)"
    assert of(view, "a").path.local_pref == 300
    assert of(view, "b").why == "lost at local-pref: 0 < 300 (RFC 4271 9.1.1)"


@pytest.mark.parametrize(
    ("communities", "expected"),
    [
        ((), {"a": "from-there", "b": "not-reflected", "n2": "not-own", "n3": "not-own"}),
        ((0xFFFFFF02,), {"a": "from-there", "b": "no-advertise", "n2": "not-own", "n3": "not-own"}),
    ],
)
def test_a_learned_prefix_that_is_not_told_on_says_by_which_rule(communities, expected) -> None:
    peers = [{**peer, "advertise": "all"} for peer in PEERS[:2]]
    script = Script(node(bgp={"peers": peers}), snapshot(OURS)).boot()
    for peer in (A, B, N2, N3):
        script.up(peer)
    say(script, A, FREE, communities=communities)
    found = {one.peer: one.reason.code for one in asked(script, FREE).announcements if one.reason is not None}
    assert found == expected
