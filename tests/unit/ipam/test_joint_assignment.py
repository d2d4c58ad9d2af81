"""First blocks: dealt by the cluster file alone, alike on every node."""
from __future__ import annotations

import subprocess
import sys

import pytest

from calicopy.ipam import NodeSpec, PoolSpec
from calicopy.ipam.assignment import TakenBlocks, candidates, first_blocks, first_choice, stable_hash, walk
from calicopy.net import Prefix

POOL = PoolSpec("default", Prefix.parse("10.244.0.0/16"), 26)


def nodes(*names: str) -> list[NodeSpec]:
    return [NodeSpec(name, number + 1) for number, name in enumerate(names)]


def test_the_assignment_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from calicopy.ipam.assignment import first_choice; from calicopy.ipam import PoolSpec;"
        "from calicopy.net import Prefix;"
        "print(first_choice('alpha', PoolSpec('p', Prefix.parse('10.244.0.0/16'), 26)))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{first_choice('alpha', POOL)}\n"}


def test_the_assignment_never_changes_between_versions() -> None:
    dealt = first_blocks(nodes("node1", "node2", "alpha", "rack-1.example.org"), POOL)
    assert {name: str(POOL.block_at(index)) for name, index in dealt.items()} == {
        "node1": "10.244.14.128/26",
        "node2": "10.244.14.64/26",
        "alpha": "10.244.35.128/26",
        "rack-1.example.org": "10.244.164.64/26",
    }


def test_the_name_of_the_pool_does_not_matter_its_range_does() -> None:
    renamed = PoolSpec("other", POOL.cidr, 26)
    assert first_blocks(nodes("a", "b"), POOL) == first_blocks(nodes("a", "b"), renamed)


def test_numbered_nodes_keep_their_blocks_wherever_the_newcomer_stands_in_the_file() -> None:
    names = [f"node{number}" for number in range(1, 100)]
    before = first_blocks(nodes(*names), POOL)
    for place in range(len(names) + 1):
        after = first_blocks(nodes(*names[:place], "node100", *names[place:]), POOL)
        assert {name: after[name] for name in names} == before


def test_numbered_nodes_fill_a_pool_to_the_last_block_without_a_collision() -> None:
    small = PoolSpec("small", Prefix.parse("10.0.0.0/24"), 26)
    names = [f"node{number}" for number in (11, 12, 13, 14)]
    assert sorted(first_blocks(nodes(*names), small).values()) == [0, 1, 2, 3]
    assert [first_blocks(nodes(*names), small)[name] for name in names] == [first_choice(name, small) for name in names]


def test_a_node_too_many_for_the_pool_gets_none_and_disturbs_nobody() -> None:
    small = PoolSpec("small", Prefix.parse("10.0.0.0/25"), 26)
    dealt = first_blocks(nodes("a", "b", "c"), small)
    assert set(dealt) == {"a", "b"}
    assert dealt == first_blocks(nodes("a", "b"), small)


def test_pinned_blocks_are_taken_out_and_their_node_takes_no_part() -> None:
    wanted = POOL.block_at(first_choice("a", POOL))
    dealt = first_blocks([NodeSpec("a", 1), NodeSpec("b", 2, (wanted,))], POOL)
    assert "b" not in dealt
    assert POOL.block_at(dealt["a"]) != wanted


def test_a_pin_in_another_pool_does_not_matter() -> None:
    elsewhere = Prefix.parse("10.245.0.0/26")
    assert "b" in first_blocks([NodeSpec("b", 2, (elsewhere,))], POOL)


def test_nodes_that_the_pool_does_not_select_are_absent() -> None:
    picky = PoolSpec("picky", POOL.cidr, 26, frozenset({"b"}))
    assert set(first_blocks(nodes("a", "b"), picky)) == {"b"}


@pytest.mark.parametrize("length", [26, 27, 32])
def test_a_walk_visits_every_block_once(length: int) -> None:
    pool = PoolSpec("p", Prefix.parse("10.0.0.0/24"), length)
    assert sorted(walk("node", pool)) == list(range(pool.blocks))


def test_a_walk_of_a_huge_ipv6_pool_is_lazy() -> None:
    pool = PoolSpec("six", Prefix.parse("fd00::/48"), 122)
    assert 0 <= next(walk("node", pool)) < 1 << 74
    assert pool.index_of(pool.block_at(12345)) == 12345


def test_shares_of_further_blocks_are_disjoint_and_cover_the_pool() -> None:
    pool = PoolSpec("p", Prefix.parse("10.0.0.0/24"), 30)
    shares = []
    for position in range(5):
        share = (64 - position + 4) // 5
        order = candidates("n", position, 5, pool, {})
        shares.append([next(order) for _ in range(share)])
    assert sorted(index for share in shares for index in share) == list(range(64))


def test_the_hash_tells_apart_where_the_parts_end() -> None:
    assert stable_hash("ab", "c") != stable_hash("a", "bc")


def test_taken_blocks_of_other_sizes_take_all_that_they_lie_on() -> None:
    pool = PoolSpec("p", Prefix.parse("10.0.0.0/24"), 26)
    taken = TakenBlocks(pool, map(Prefix.parse, ("10.0.0.70/32", "10.0.0.128/25", "10.9.0.0/26")))
    assert [index in taken for index in range(4)] == [False, True, True, True]
    assert taken.count == 3
    assert not taken.full
    taken.add_packed([Prefix.parse("10.0.0.0/26").packed, Prefix.parse("10.9.0.0/26").packed])
    assert taken.full
    assert TakenBlocks(pool, [Prefix.parse("10.0.0.0/8")]).full


def test_a_block_length_that_does_not_fit_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="block length 8 does not fit"):
        PoolSpec("p", Prefix.parse("10.0.0.0/16"), 8)
