"""The FIB beside a kernel that answers late, and in which others act: events alone bring it right, without a timer.

The lanes are those of the agent's kernel edge: routes with two writes under way, and objects with one. What is written
is carried out in the order in which it was begun, and answered in that order. A dump reads routes, then objects, and
something may happen between any two of these steps.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from errno import EINVAL

from fibs import led, reached
from fibstates import BLOCKS, ETH0, V4, State, bring_in, states
from hypothesis import given, settings
from hypothesis import strategies as st

from calicopy.fib import Fib, KernelDump, NextHopChange, NextHopResult, RouteBatch, WriteResult
from calicopy.kernel.fake import FakeKernel, HeldObject


class Turn(Enum):
    """What happens next."""

    BEGIN_ROUTES = auto()
    BEGIN_OBJECTS = auto()
    KERNEL_ROUTES = auto()
    KERNEL_OBJECTS = auto()
    ANSWER_ROUTES = auto()
    ANSWER_OBJECTS = auto()
    BEGIN_DUMP = auto()
    DUMP_ROUTES = auto()
    DUMP_OBJECTS = auto()
    ANSWER_DUMP = auto()
    FLAP = auto()
    DELETE_ROUTE = auto()
    DELETE_OBJECT = auto()
    FLUSH_OBJECTS = auto()
    TAKE_ID = auto()
    TELL = auto()


@dataclass
class Host:
    """A FIB, its kernel, and what is on the way between the two."""

    fib: Fib = field(default_factory=Fib)
    kernel: FakeKernel = field(default_factory=FakeKernel)
    routes: deque[list[RouteBatch]] = field(default_factory=deque)
    written: deque[list[WriteResult]] = field(default_factory=deque)
    objects: list[NextHopChange] = field(default_factory=list)
    changed: list[NextHopResult] = field(default_factory=list)
    events: deque[Callable[[], None]] = field(default_factory=deque)
    dump: KernelDump | None = None
    dumping: int = 0  # steps of the dump that are made, counted from 1
    ahead: int = 0  # writes that are to be answered before the dump is made
    dump_again: bool = False
    now: float = 0.0

    def turn(self, turn: Turn, number: int) -> None:
        """Have it happen, where it can; `number` chooses."""
        getattr(self, f"_{turn.name.lower()}")(number)

    def _begin_routes(self, number: int) -> None:
        if len(self.routes) + len(self.written) < 2 and (batches := self.fib.delta(1 + number % 4, self.now)):
            self.routes.append(batches)

    def _begin_objects(self, _: int) -> None:
        if not (self.objects or self.changed):
            self.objects = self.fib.next_hop_delta(self.now)

    def _kernel_routes(self, _: int) -> None:
        if self.routes:
            self.written.append(self.kernel.write_now(self.routes.popleft()))

    def _kernel_objects(self, _: int) -> None:
        if self.objects:
            self.changed, self.objects = self.kernel.write_next_hops_now(self.objects), []

    def _answer_routes(self, _: int) -> None:
        if self.written and (self.ahead or not self.dumping):  # a dump keeps its place among writes
            self.ahead = max(0, self.ahead - 1)
            written = self.written.popleft()
            self.fib.written(written, self.now)
            self._refused(code for result in written for _, code in result.failures)

    def _answer_objects(self, _: int) -> None:
        if self.changed:
            changed, self.changed = self.changed, []
            self.fib.next_hops_written(changed, self.now)
            self._refused(result.errno for result in changed)

    def _refused(self, codes: Iterable[int]) -> None:
        if EINVAL in codes:
            self._begin_dump(0)

    def _begin_dump(self, _: int) -> None:
        self.dump_again = self.dump_again or self.dumping > 0
        if not self.dumping:
            self.fib.dump_begins()
            self.dumping, self.ahead = 1, len(self.routes) + len(self.written)

    def _dump_routes(self, _: int) -> None:
        if self.dumping == 1 and not self.ahead:
            self.dump, self.dumping = self.kernel.dump_now(), 2

    def _dump_objects(self, _: int) -> None:
        if self.dumping == 2 and self.dump is not None:
            later = self.kernel.dump_now()
            self.dump = KernelDump(self.dump.routes, self.dump.strays, later.next_hops, later.foreign_ids)
            self.dumping = 3

    def _answer_dump(self, _: int) -> None:
        if self.dumping == 3 and self.dump is not None:
            self.dumping = 0
            self.fib.kernel_state(self.dump)
            again, self.dump_again = self.dump_again, False
            if again:
                self._begin_dump(0)

    def _flap(self, _: int) -> None:
        self.kernel.link_down(ETH0)
        self.kernel.link_up(ETH0)

        def told() -> None:
            self.fib.interfaces_lost({ETH0})
            self.dump_again = self.dump_again or self.dumping > 0

        self.events.append(told)

    def _delete_route(self, number: int) -> None:
        packed = BLOCKS[number % len(BLOCKS)].packed
        if self.kernel.table.pop((V4, packed, self.kernel.metric), None) is not None:
            self.events.append(lambda: self.fib.kernel_changed(V4, {packed: None}))

    def _delete_object(self, number: int) -> None:
        if held := sorted(self.kernel.our_objects()):
            self._gone([held[number % len(held)]])

    def _flush_objects(self, _: int) -> None:
        self._gone(list(self.kernel.our_objects()))

    def _gone(self, numbers: list[int]) -> None:
        before = set(self.kernel.our_objects())
        for number in numbers:
            self.kernel.remove_object(number)
        self._changed(sorted(before - self.kernel.our_objects().keys()))

    def _take_id(self, number: int) -> None:
        if held := sorted(self.kernel.our_objects()):
            number = held[number % len(held)]
            theirs = self.kernel.objects[number].object
            self._gone([number])
            self.kernel.objects[number] = HeldObject(4, theirs)
            self._changed([number])

    def _changed(self, numbers: list[int]) -> None:
        def told() -> None:
            ours = self.kernel.our_objects()
            self.fib.next_hops_changed({number: ours.get(number) for number in numbers})

        self.events.append(told)

    def _tell(self, _: int) -> None:
        if self.events:
            self.events.popleft()()

    def rest(self) -> None:
        """Everything that is on the way comes, and all that is left to do is done."""
        for _ in range(300):
            for turn in (
                Turn.TELL, Turn.KERNEL_OBJECTS, Turn.ANSWER_OBJECTS, Turn.KERNEL_ROUTES, Turn.ANSWER_ROUTES,
                Turn.DUMP_ROUTES, Turn.DUMP_OBJECTS, Turn.ANSWER_DUMP, Turn.BEGIN_OBJECTS, Turn.BEGIN_ROUTES,
            ):  # fmt: skip
                self.turn(turn, 3)
            self.now += 10.0
            waits = self.events or self.routes or self.written or self.objects or self.changed or self.dumping
            if not waits and self.fib.in_sync:
                return
        raise AssertionError("it does not come to rest")


turns = st.lists(st.tuples(st.sampled_from(Turn), st.integers(0, 7)), max_size=60)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(states, turns), min_size=1, max_size=4))
def test_whatever_happens_between_any_two_steps_the_kernel_comes_to_what_is_desired(
    history: list[tuple[State, list[tuple[Turn, int]]]],
) -> None:
    host = Host()
    host.fib.kernel_state(host.kernel.dump_now())
    for state, happens in history:
        bring_in(host.fib, state)
        for turn, number in happens:
            host.turn(turn, number)
    host.rest()
    assert host.kernel.ours() == dict(host.fib.desired(V4))
    assert reached(host.kernel) == led(host.fib)
