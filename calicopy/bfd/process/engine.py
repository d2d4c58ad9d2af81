"""All sessions: whose packet is it, what is due, what is to be taken out of use, and what is told.

Theory of operation: a round reads what has come in, then asks the sessions that are due. Packets go to the session
that their discriminator names (RFC 5880 section 6.8.6), else to that of the sender's address; in both cases the address
must be the session's. What belongs to none is counted and leaves nothing. Sessions that went Down without anybody's
wish are collected, and their next hops taken out of use before anything else is done.
"""
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping

from calicopy.bfd.packet import Refusal, decode
from calicopy.bfd.process.holds import Holds
from calicopy.bfd.process.runner import Runner
from calicopy.bfd.process.settings import END, SessionSetting, Table
from calicopy.bfd.process.sockets import peer_key, sender_key, ttl_of
from calicopy.bfd.process.state import LABELS, Kept, Slot, StateFile
from calicopy.bfd.process.wheel import Wheel
from calicopy.bfd.session import your_discriminator

LONGEST = 512  # octets of a datagram that are read; a control packet has 24 to 279
_ANCILLARY = 64
LAST_PACKETS = 3  # of a session that ends on purpose: who misses all of them takes us for dead
_POLLS = 4  # of one session in a round: an answer to a poll, a change of state, and what is due
Key = str | tuple[str, int]


class Engine:
    """`changed`: what the agent is to be told of, since it was last emptied. `problems`: what is wrong, by matter."""

    __slots__ = (
        "_addresses", "_buffer", "_buffers", "_by_address", "_by_discriminator", "_downs", "_kept", "_random", "_state",
        "changed", "dropped", "gone", "holds", "problems", "runners", "wheel",
    )  # fmt: skip

    def __init__(self, state: StateFile, *, random: Callable[[], float], now: float) -> None:
        self._state = state
        self._random = random
        self._kept: dict[str, tuple[Slot, Kept]] = state.found()
        self._by_address: dict[Key, Runner] = {}
        self._addresses: dict[Runner, Key] = {}
        self._by_discriminator: dict[int, Runner] = {}
        self._buffer = bytearray(LONGEST)
        self._buffers = [self._buffer]
        self._downs: list[Runner] = []
        self.runners: dict[str, Runner] = {}
        self.changed: dict[str, Runner] = {}
        self.gone: list[str] = []
        self.dropped: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self.holds = Holds()
        self.wheel = Wheel(now)

    # What the agent wants

    def use_sessions(self, wanted: Mapping[str, SessionSetting], now: float) -> None:
        """Hold these sessions and no others. Keys are read again. OSError when there is no room to keep what they are:
        those before it are held all the same.
        """
        for peer in [peer for peer in self.runners if peer not in wanted]:
            self._end(self.runners.pop(peer), now)
        try:
            for peer, setting in wanted.items():
                runner = self.runners.get(peer)
                if runner is None:
                    self.runners[peer] = runner = self._begin(setting, now)
                else:
                    runner.use(setting, now)
                if runner.holding():
                    self.holds.hold(peer, setting.next_hops)
                self._note(runner)
            for slot, _ in self._kept.values():  # of sessions that nobody wants any more
                self._state.give_back(slot)
            self._kept = {}
        finally:
            self.find_addresses()
            self.holds.apply(now)

    def use_table(self, table: Table, now: float) -> None:
        """These are the kernel's objects now."""
        self.holds.use(table)
        self.holds.apply(now)

    def acknowledge(self, peer: str, downs: int) -> None:
        """The agent has taken this Down as its own wish."""
        runner = self.runners.get(peer)
        if runner is not None:
            runner.acknowledge(downs)
            if not runner.holding():
                self.holds.release(peer)
            self.changed[peer] = runner

    def find_addresses(self) -> bool:
        """Know each session by its peer's address. False while a device that one names is not there."""
        self._by_address, self._addresses = {}, {}
        missing = ""
        for peer, runner in self.runners.items():
            try:
                key = peer_key(peer)
            except OSError as error:
                missing = f"{peer}: {error.strerror or error}"
            else:
                self._by_address[key] = runner
                self._addresses[runner] = key
        self.problems["address"] = missing
        return not missing

    def _begin(self, setting: SessionSetting, now: float) -> Runner:
        slot, kept = self._kept.pop(setting.peer, (None, None))
        slot = slot or self._state.new_slot()
        discriminator = 0
        while not discriminator or discriminator in self._by_discriminator:
            discriminator = int.from_bytes(os.urandom(4), "big")
        runner = Runner(setting, slot, kept, discriminator=discriminator, random=self._random, now=now)
        runner.save()
        slot.take(setting.peer)
        self._by_discriminator[runner.session.local_discriminator] = runner
        return runner

    def _end(self, runner: Runner, now: float) -> None:
        """RFC 5880 section 6.8.16: the peer is told that this is meant."""
        for _ in range(LAST_PACKETS):
            runner.say_admin_down(now)
        runner.close()
        self.wheel.drop(runner)
        self.holds.release(runner.setting.peer)
        self.changed.pop(runner.setting.peer, None)
        self.gone.append(runner.setting.peer)
        del self._by_discriminator[runner.session.local_discriminator]
        self._state.give_back(runner.slot)

    # A round

    def read(self, source: socket.socket, *, multihop: bool, most: int, now: float) -> int:
        """Take what is in the socket, at most `most` datagrams; how many they were, fewer when it is empty."""
        receive, buffer, buffers = source.recvmsg_into, self._buffer, self._buffers
        by_discriminator, addresses = self._by_discriminator, self._addresses
        for count in range(most):
            try:
                size, ancillary, _, address = receive(buffers, _ANCILLARY)
            except BlockingIOError:
                return count
            except OSError:
                continue
            octets = bytes(buffer[:size])
            key = sender_key(address)
            number = your_discriminator(octets)
            runner = by_discriminator.get(number) if number else self._by_address.get(key)
            if runner is None:
                self._drop(octets)
            elif addresses.get(runner) != key:
                runner.session.dropped[Refusal.ADDRESS] += 1
            elif runner.receive(octets, ttl_of(ancillary), multihop=multihop, now=now):
                self._note(runner)
        return most

    def _drop(self, octets: bytes) -> None:
        """It belongs to no session."""
        refusal = decode(octets)
        label = LABELS[refusal] if isinstance(refusal, Refusal) else LABELS[Refusal.UNKNOWN_SESSION]
        self.dropped[label] = self.dropped.get(label, 0) + 1

    def awake(self, now: float, *, since: float) -> None:
        """This process, and perhaps the whole machine, stood still from `since` to `now`: no peer is down for that."""
        for runner in self.runners.values():
            runner.session.listen_again(now, since=since)

    def advance(self, now: float, read_up_to: float) -> None:
        """Do what is due at `now`. What came in before `read_up_to` was read: of nobody's silence is known after it."""
        to_send: list[tuple[Runner, bytes]] = []
        for one in self.wheel.due(now):
            assert isinstance(one, Runner)
            session = one.session
            for _ in range(_POLLS):
                if session.deadline > now:
                    break
                octets = session.poll(now, read_up_to)
                if session.changes != one.seen_changes:
                    self._note(one)
                if octets is not None:
                    if one.sequenced:
                        one.slot.write_hot(session.save_hot())
                    to_send.append((one, octets))
            self.wheel.put(one, session.deadline)
        self.hold_downs(now)  # of all that went down at once, in one go, and before anything is said
        for one, octets in to_send:
            one.send(octets)
        if now >= self.holds.retry_at:
            self.holds.apply(now)

    def hold_downs(self, now: float) -> None:
        """Take the next hops of the sessions that went Down out of use."""
        if self._downs:
            for runner in self._downs:
                self.holds.hold(runner.setting.peer, runner.setting.next_hops)
            self._downs.clear()
            self.holds.apply(now)

    def _note(self, runner: Runner) -> None:
        """Something of it changed: keep it, tell it, and look when it is due."""
        session = runner.session
        runner.seen_changes = session.changes
        if session.downs != runner.seen_downs:
            runner.seen_downs = session.downs
            self._downs.append(runner)
        runner.save()
        self.changed[runner.setting.peer] = runner
        self.wheel.put(runner, session.deadline)

    # What is told

    def news(self) -> Iterator[str]:
        """The lines of what changed since the last time."""
        for peer in self.gone:
            yield f"gone {peer}\n"
        for runner in self.changed.values():
            yield runner.line().as_text()
        self.gone, self.changed = [], {}

    def whole(self) -> Iterator[str]:
        """The lines of all there is, with the end of the set."""
        yield from (f"drop {name} {count}\n" for name, count in self.dropped.items())
        yield from (runner.line().as_text() for runner in self.runners.values())
        yield f"{END}\n"

    def problem(self) -> str:
        """What is wrong, in one line; empty when nothing is."""
        found = [text for text in self.problems.values() if text]
        found += [self.holds.problem] * bool(self.holds.problem)
        for runner in self.runners.values():
            found += [text for text in (runner.key_problem, runner.problem) if text]
        return "; ".join(found[:4]).replace("\n", " ")

    def stop(self, now: float) -> None:
        """Say on each session that its end is meant. To be done a few times: packets get lost."""
        for runner in self.runners.values():
            runner.say_admin_down(now)
