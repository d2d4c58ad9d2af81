"""What peers are told, in which commands: ADD-PATH, update groups, and what a peer that returns hears."""
from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from exporting import CLIENT, EXTERNAL, MANY, N2, N3, N4, N5, NON_CLIENT, TOR, V4, A, B, C, anycast, chain, own, target

from calicopy.net import Prefix
from calicopy.net.nexthop import NextHopFacts
from calicopy.policy import (
    Action,
    Match,
    PrefixMatch,
    Rule,
)
from calicopy.rib import OutPeer

# -- ADD-PATH





def test_with_add_path_every_path_that_can_be_used_goes_out_best_first(world, out):
    prefix = anycast(world, 4, 2, 3)
    world.rib.set_next_hops({ip_address(N4): NextHopFacts.unreachable(ip_address(N4))})
    out.up("10.0.0.33", MANY)
    out.run()
    routes = out.out.told("10.0.0.33", V4).routes(world.packed(prefix))
    assert [str(route.out.next_hop) for route in routes] == [N2, N3]
    assert len({route.path_id for route in routes}) == 2
    assert all(route.path_id > 1 for route in routes)


def test_a_path_keeps_its_id_when_others_come_and_go(world, out):
    prefix = anycast(world, 3)
    out.up("10.0.0.33", MANY)
    (first,) = out.run().hears("10.0.0.33")
    anycast(world, 3, 2)
    assert first in out.run().hears("10.0.0.33")
    assert len(out.deltas) == 1
    world.withdraw(world.peer(N5, trust_owner=True, client=True), prefix, path_id=2)
    assert set(out.run().hears("10.0.0.33")) == {first}
    assert out.commands() == [(("10.0.0.33",), 0, 1)]


def test_our_own_prefixes_have_path_id_one(out):
    own(out, A)
    out.up(N3, MANY)
    assert set(out.run().hears(N3)) == {(1, A)}


def test_of_many_paths_sixteen_are_sent(world, out):
    reflector = world.peer(N5, trust_owner=True, client=True)
    for path_id in range(1, 21):
        world.announce(reflector, A, path_id=path_id, next_hop=N2, med=path_id, large_communities=(world.owner(2),))
    out.up("10.0.0.33", MANY)
    assert sorted(one.attributes.med for one in out.run().hears("10.0.0.33").values()) == list(range(1, 17))


# -- update groups


def test_peers_that_hear_the_same_share_one_command(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    for peer in (N3, N4, N5):
        out.up(peer)
    out.run()
    assert out.commands() == [((N3, N4, N5), 2, 0)]
    out.run()
    assert out.commands() == []
    out.up(N2)
    world.announce(world.node_peer(2, client=True), C)
    out.run()
    assert out.commands() == [((N3, N4, N5), 1, 0)]


def test_a_change_of_attributes_is_announced_again_without_a_withdrawal(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A)
    out.up(N3)
    out.run()
    world.announce(peer, A, med=9)
    out.run()
    assert out.commands() == [((N3,), 1, 0)]
    assert out.one(N3).med == 9


def test_another_source_of_equal_attributes_moves_only_those_two(world, out):
    """The new source has it withdrawn, the old one hears it now, to all others nothing is said."""
    block = {"next_hop": N2, "originator_id": IPv4Address("10.0.0.77")}
    one, other = world.peer("10.0.0.31", client=True), world.peer("10.0.0.32", client=True)
    world.announce(other, A, **block)
    for peer in ("10.0.0.31", "10.0.0.32", N3, N4):
        out.up(peer)
    assert A not in out.run().hears("10.0.0.32")
    world.announce(one, A, **block)
    out.run()
    assert out.commands() == [(("10.0.0.32",), 1, 0), (("10.0.0.31",), 0, 1)]


def test_a_peer_that_comes_later_is_sent_the_table_and_nobody_else_is_told(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    out.up(N3)
    out.run()
    out.up(N4)
    out.run()
    assert out.commands() == [((N4,), 2, 0)]
    assert out.done >= {N3, N4}


def test_a_table_goes_out_in_slices_and_is_complete_only_at_the_end(world, out):
    blocks = [f"10.244.{third}.{fourth}/26" for third in range(40) for fourth in (0, 64, 128, 192)]
    world.announce(world.node_peer(2, client=True), *blocks)
    world.settle()
    out.up(N3)
    sizes = []
    while out.out.pending:
        assert out.out.finish(N3, V4, 10) == ([], 10, False)
        deltas, left = out.out.advance(30)
        assert left >= 0
        sizes += [sum(len(batch.prefixes) for batch in delta.announce) for delta in deltas]
    assert sum(sizes) == 160
    assert max(sizes) <= 30
    assert out.out.finish(N3, V4, 10)[2]


def churn(world, out, peer, rounds: int, limit: int = 10) -> None:
    """Rounds in which eight prefixes change, and about `limit` can be told."""
    for number in range(rounds):
        world.announce(peer, *(f"10.244.9.{n}/32" for n in range(8)), med=number, large_communities=(world.owner(2),))
        out.out.judged(world.settle().judged)
        out._take(out.out.advance(limit)[0])
        for each in (N3, N4, TOR):
            deltas, _, done = out.out.finish(each, V4, limit)
            out._take(deltas)
            out.done |= {each} if done else set()


def test_changes_without_end_keep_no_group_waiting(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(TOR, EXTERNAL)
    churn(world, out, peer, 10)
    assert out.done == {N3, TOR}
    assert {A, B, C, "10.244.9.7/32"} <= set(out.hears(TOR)) & set(out.hears(N3))
    assert min(attributes.attributes.med for attributes in out.hears(N3).values() if attributes.attributes.med) >= 7


def test_a_peer_that_comes_amid_changes_without_end_is_sent_the_table_and_what_it_held_goes(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, *(f"10.244.1.{n}/32" for n in range(30)), large_communities=(world.owner(2),))
    out.up(N3)
    out.run()
    out.done.clear()
    out.up(N4)
    out.out.announced_before(N4, V4, [(0, world.packed(A))])
    out.held[N4] = {(0, world.packed(A)): None}
    churn(world, out, peer, 15)
    assert out.done >= {N3, N4}
    assert out.hears(N4).keys() == out.hears(N3).keys()
    assert len(out.hears(N4)) == 38


def test_what_waits_when_a_peer_may_be_swept_is_told_before(world, out):
    """An agent before us announced it: it is found again, and not withdrawn in between."""
    peer = world.node_peer(2, client=True)
    out.up(N3)
    out.run()
    out.up(N3)
    out.out.announced_before(N3, V4, [(0, world.packed(A))])
    out.out.advance(10)
    world.announce(peer, A)
    out.out.judged(world.settle().judged)
    assert out.out.finish(N3, V4, 10) == ([], 10, False)
    out.run()
    assert not [delta for delta in out.deltas if delta.withdraw]
    assert set(out.hears(N3)) == {A}
    assert N3 in out.done


def test_what_was_found_for_another_policy_or_a_question_is_not_kept(world, out):
    world.announce(world.node_peer(2, client=True), A)
    out.up(N3)
    out.run()
    for number in range(20):
        out.out.set_policy(world.context, draining=number % 2 == 0, silent=False)
        out.run()
        out.out.refusal(NON_CLIENT, OutPeer(N4, ip_address(N4), 4), world.packed(A))
    assert len(world.rib.outcome(V4, world.packed(A)).exports) <= 2


# -- peers that come back


def test_what_was_withdrawn_while_a_peer_was_away_is_withdrawn_when_it_is_back(world, out):
    """The speaker itself tells it again what it held."""
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B)
    out.up(N3)
    out.up(N4)
    out.run().out.leave(N3)
    world.withdraw(peer, A)
    assert set(out.run().hears(N3)) == {A, B}
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}
    assert out.commands() == [((N3,), 1, 0), ((N3,), 0, 1)]


def test_what_was_withdrawn_while_all_were_away_is_withdrawn_too(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B)
    out.up(N3)
    out.run().out.leave(N3)
    world.withdraw(peer, A)
    out.run()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}


def test_what_was_withdrawn_while_a_peer_was_away_for_long_is_withdrawn_when_it_is_back(world, out):
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(N4)
    out.run()
    world.withdraw(peer, C)
    out.run().out.leave(N3)
    for prefix in (A, None, None):
        if prefix is not None:
            world.withdraw(peer, prefix)
        out.run().out.age()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B}
    assert N3 in out.done


def test_what_was_withdrawn_long_ago_is_not_withdrawn_again_when_a_peer_is_back(world, out):
    """Else each return of a peer costs a withdrawal of all that ever was."""
    peer = world.node_peer(2, client=True)
    world.announce(peer, A, B, C)
    out.up(N3)
    out.up(N4)
    out.run()
    world.withdraw(peer, A)
    out.run().out.age()
    out.out.age()
    out.out.leave(N3)
    for number in range(50):  # comes and goes while it is away
        host = f"10.244.9.{number}/32"
        world.announce(peer, host, large_communities=(world.owner(2),))
        out.run()
        world.withdraw(peer, host)
        out.run().out.age()
    out.up(N3)
    assert set(out.run().hears(N3)) == {B, C}
    withdrawn = [prefix for delta in out.deltas for batch in delta.withdraw for prefix in batch.prefixes]
    assert set(withdrawn) <= {world.packed("10.244.9.0/32"), world.packed("10.244.9.49/32")}


def test_a_peer_that_became_the_source_while_it_was_away_does_not_keep_the_path_of_another(world, out):
    host = "10.244.1.5/32"
    world.announce(world.node_peer(3, client=True), host, large_communities=(world.owner(3),))
    out.up(N2)
    out.up(N3)
    out.up(N4)
    assert host in out.run().hears(N2)
    out.out.leave(N2)
    world.announce(world.node_peer(2, client=True), host, large_communities=(world.owner(2),))
    out.run()
    out.up(N2)
    assert out.run().hears(N2) == {}
    assert host in out.hears(N3)


def test_a_peer_whose_filters_change_is_told_the_difference_alone(world, out):
    world.announce(world.node_peer(2, client=True), A, B)
    strict = target(client=True, chain=chain(Rule("1", Match(prefixes=(PrefixMatch(Prefix.parse(A), 26, 26),)),
                                                   action=Action.REJECT)))  # fmt: skip
    out.up(N3)
    out.up(N4)
    out.run().out.move({OutPeer(peer, ip_address(peer), int(ip_address(peer))): (strict,) for peer in (N3, N4)})
    out.run()
    assert out.commands() == [((N3, N4), 0, 1)]
    assert set(out.hears(N3)) == {B}
    out.out.move({OutPeer(N3, ip_address(N3), int(ip_address(N3))): (CLIENT,)})
    assert set(out.run().hears(N3)) == {A, B}
    assert set(out.hears(N4)) == {B}
    out.out.move({OutPeer(N3, ip_address(N3), int(ip_address(N3))): (strict,)})
    assert set(out.run().hears(N3)) == {B}
    assert {peers for peers, _, _ in out.commands()} == {(N3,)}


def test_what_an_agent_before_us_announced_and_we_do_not_is_withdrawn(world, out):
    own(out, A)
    out.up(N3)
    out.out.announced_before(N3, V4, [(0, world.packed(A)), (0, world.packed(B)), (7, world.packed(A))])
    out.held[N3] = {(0, world.packed(B)): None, (7, world.packed(A)): None}
    assert set(out.run().hears(N3)) == {A}


def test_without_add_path_what_is_told_goes_out_again_after_the_withdrawal_of_another_path_id(world, out):
    own(out, A, B)
    out.up(N3)
    out.out.announced_before(N3, V4, [(1, world.packed(A)), (5, world.packed(A)), (1, world.packed(C))])
    out.run()
    told, gone, again = out.deltas
    assert {prefix for batch in told.announce for prefix in batch.prefixes} == {world.packed(A), world.packed(B)}
    assert not gone.announce
    assert {(batch.path_id, *batch.prefixes) for batch in gone.withdraw if batch.path_id != 1} == {
        (5, world.packed(A)), (0, world.packed(A))
    }  # fmt: skip
    assert [list(batch.prefixes) for batch in again.announce] == [[world.packed(A)]]
    assert set(out.hears(N3)) == {A, B}


def test_a_new_speaker_holds_nothing(out):
    own(out, A)
    out.up(N3)
    out.run().out.reset()
    assert len(out.out.told(N3, V4)) == 0
    out.up(N3)
    out.run()
    assert out.commands() == [((N3,), 1, 0)]


def test_what_was_told_can_be_looked_up_and_counted(world, out):
    world.announce(world.node_peer(2, client=True), A)
    own(out, C)
    out.up(N2)
    out.up(N3)
    out.run()
    assert list(out.out.told(N2, V4)) == [world.packed(C)]
    assert len(out.out.told(N2, V4)) == 1
    told = out.out.told(N3, V4)
    assert len(told) == 2
    assert told[world.packed(A)].next_hop == ip_address(N2)
    assert told.get(world.packed(B)) is None
    assert [(family, set(found)) for family, found in out.out.learned()] == [(V4, {world.packed(A), world.packed(C)})]
    peer = OutPeer(N3, ip_address(N3), int(ip_address(N3)))
    assert out.out.desired(CLIENT, peer) == {prefix: (attributes,) for prefix, attributes in told.items()}
