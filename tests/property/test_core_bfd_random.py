"""The core, the kernel and the BFD process together, in random order: paths are cut and heal, agents and processes are
killed and come back, words between them are late.

What must hold: while the process knows that a path is Down, no packet goes there, whoever lives; and once all is well
again, everything is as wanted, with no mark left.
"""
from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest
import simparts
from corescript import N2, N3, Script, attributes, node, snapshot, with_session

from calicopy.core import commands as do
from calicopy.core import events as ev
from calicopy.core.core import Core
from calicopy.net import Prefix
from calicopy.seam import speaker as sp
from calicopy.seam.bfd import BfdState, BfdTable, HopMode, SessionState

PEERS = (N2, N3)
BLOCKS = {N2: "10.244.1.0/26", N3: "10.244.2.0/26"}
OURS, SHARED = "10.244.0.0/26", "10.244.3.9/32"
STEPS, SEEDS = 60, 10
CONFIG = with_session(node(), N3, node=None, trust_owner=True)
UNWATCHED = {peer: with_session(CONFIG, peer, bfd=None) for peer in PEERS}


class Session:
    """One session, as the process has it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_up = False
        self.ups = self.downs = self.acknowledged = 0
        self.changed_at = 0.0

    @property
    def holding(self) -> bool:
        return self.downs > self.acknowledged


class World(Script):
    """n1, whose agent and BFD process may be dead. `cut`: paths that carry nothing."""

    def __init__(self, seed: int) -> None:
        super().__init__(CONFIG, snapshot(OURS))
        self.random = Random(seed)
        self.cut: set[str] = set()
        self.alive = True  # the agent
        self.process = False
        self.sessions: dict[str, Session] = {}
        self.wanted: tuple[str, ...] = ()
        self.table = BfdTable()
        self.established: set[str] = set()  # by the speaker, whether the agent lives or not
        self.numbers = 0
        self.early: list[ev.CoreEvent] = []  # what the kernel told, and the agent has not heard
        self.said: list[tuple[str, int]] = []  # to the process, which has not heard it
        self.log: list[str] = []

    # -- the process

    def look(self) -> None:
        """The process finds out what became of the paths."""
        if not self.process:
            return
        for peer in self.wanted:
            if peer not in self.sessions:
                self.numbers += 1
                self.sessions[peer] = Session(self.numbers)
        for peer in [one for one in self.sessions if one not in self.wanted]:
            del self.sessions[peer]
        for peer, session in self.sessions.items():
            if session.is_up and peer in self.cut:
                session.is_up, session.downs, session.changed_at = False, session.downs + 1, self.now
            elif not session.is_up and peer not in self.cut:
                session.is_up, session.ups, session.changed_at = True, session.ups + 1, self.now
        self.apply()
        self.listen()

    def apply(self) -> None:
        """Hold what is to be held, as `calicopy.bfd.process.holds`."""
        for number, (_, hop) in self.table.objects.items():
            session = self.sessions.get(str(hop))
            there = self.next_hops.ours.get(number)
            if session is None or not session.holding or there is None or there.hop is None:
                continue
            changed = self.next_hops.hold(number)
            self.early.append(ev.NextHopsChanged({one: self.next_hops.ours.get(one) for one in changed}))

    def listen(self) -> None:
        """The process hears what the agent has acknowledged."""
        said, self.said = self.said, []
        for peer, downs in said:
            if (session := self.sessions.get(peer)) is not None:
                session.acknowledged = max(session.acknowledged, min(downs, session.downs))

    def states(self) -> dict[str, BfdState]:
        return {
            peer: BfdState(
                peer=peer, state=SessionState.UP if one.is_up else SessionState.DOWN,
                remote_state=SessionState.UP if one.is_up else SessionState.DOWN, diagnostic=0 if one.is_up else 1,
                remote_diagnostic=0, local_discriminator=one.number, remote_discriminator=9, remote_independent=True,
                hop=HopMode.MULTI, ups=one.ups, downs=one.downs, heard=one.is_up, changed_at=one.changed_at,
                tx_interval_us=100_000, detection_time_us=300_000, remote_detect_mult=3, holding=one.holding,
            )
            for peer, one in self.sessions.items()
        }  # fmt: skip

    # -- what the agent does

    def _answer(self, command: do.Command) -> list[ev.CoreEvent]:
        match command:
            case do.SetBfdSessions():
                self.wanted = tuple(one.peer for one in command.sessions)
                if self.process:
                    for peer in [one for one in self.sessions if one not in self.wanted]:
                        del self.sessions[peer]
            case do.SetBfdTable():
                before = self.table if not command.complete else BfdTable()
                self.table = BfdTable(
                    {**before.objects, **command.table.objects}, {**before.groups, **command.table.groups}
                )
                if self.process:
                    self.apply()
            case do.AcknowledgeBfd() if self.process:
                self.said += command.downs.items()
                if self.random.random() < 0.7:
                    self.listen()
            case do.ResetPeer() if command.peer in self.established:
                self.established.discard(command.peer)
                return [sp.PeerDown(command.peer, "reset")]
        answers = super()._answer(command)
        self.check(f"after {type(command).__name__}")
        return answers

    def check(self, when: str) -> None:
        """No packet goes to where the process knows that nothing arrives."""
        if not self.process:
            return
        down = {ip_address(peer) for peer, one in self.sessions.items() if one.holding and peer in self.cut}
        for packed, target in self.kernel.items():
            assert target is None or not self.next_hops.led(target) & down, (when, packed.hex(), self.log)

    # -- what happens

    def hear_all(self) -> None:
        """The agent hears what there is to hear, in one of two orders."""
        if not self.alive:
            return
        said: list[ev.CoreEvent] = [
            ev.BfdSeen(self.states(), attached=self.process, reason="" if self.process else "gone")
        ]
        told, self.early = self.early, []
        self.tell(*(said + told if self.random.random() < 0.5 else told + said))

    def bgp_up(self, peer: str) -> None:
        if peer in self.cut or peer in self.established:
            return
        self.established.add(peer)
        if self.alive:
            self.up(peer)
            self.announce(peer)

    def announce(self, peer: str) -> None:
        self.hear(peer, BLOCKS[peer])
        body = simparts.update_body([SHARED], next_hop=peer, attributes=attributes(int(peer[-1])))
        self.tell(sp.UpdatesReceived(peer, (body,)))
        self.end_of_rib(peer)

    def start_agent(self) -> None:
        if self.alive:
            return
        self.alive, self.early = True, []
        self.core = Core(CONFIG, snapshot(OURS), now=self.now)
        attached = self.process and self.random.random() < 0.5
        self.tell(ev.BfdSeen(self.states(), attached=attached, reason="" if attached else "not yet"))
        self.boot()
        self.attach(*sorted(self.established))
        for peer in sorted(self.established):
            self.announce(peer)

    def step(self) -> None:
        peer, random = self.random.choice(PEERS), self.random
        what = random.choice(
            ["cut", "cut", "heal", "heal", "agent-", "agent+", "process-", "process+", "forget", "up", "up", "hold",
             "hear", "hear", "wait", "wait", "dump", "watch"]
        )  # fmt: skip
        self.log.append(f"{what} {peer}")
        match what:
            case "cut":
                self.cut.add(peer)
            case "heal":
                self.cut.discard(peer)
            case "agent-":
                self.alive = False
            case "agent+":
                self.start_agent()
            case "process-":
                self.process, self.said = False, []
            case "process+":
                self.process = True
                self.look()
            case "forget" if not self.process:
                self.sessions = {}
            case "up":
                self.bgp_up(peer)
            case "hold" if peer in self.cut and peer in self.established:
                self.established.discard(peer)
                if self.alive:
                    self.tell(sp.PeerDown(peer, "hold timer expired"))
            case "hear":
                self.hear_all()
            case "wait" if self.alive:
                self.hear_all()
                if self.process:
                    self.listen()
                self.wait(random.choice([0.01, 0.5, 4.0, 7.0]))
            case "wait":
                self.now += 1.0
            case "dump" if self.alive:
                self.tell(ev.KernelEventsLost())
            case "watch" if self.alive:
                self.tell(ev.ConfigChanged(random.choice([CONFIG, UNWATCHED[peer]])))
        if random.random() < 0.8:
            self.look()
        self.check(what)

    def mend(self) -> None:
        """All is well again, for long."""
        self.log.append("mend")
        self.cut.clear()
        self.start_agent()
        self.process = True
        self.tell(ev.ConfigChanged(CONFIG))
        for _ in range(3):
            self.look()
            self.hear_all()
            for peer in PEERS:
                self.bgp_up(peer)
            self.hear_all()
            self.wait(35.0)

    def way(self, prefix: str) -> set[str]:
        target = self.kernel.get(Prefix.parse(prefix).packed)
        return set() if target is None else set(map(str, self.next_hops.led(target)))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_packet_goes_where_bfd_is_down_and_all_of_it_is_healed_in_the_end(seed: int) -> None:
    world = World(seed)
    world.boot()
    world.process = True
    world.look()
    world.hear_all()
    for peer in PEERS:
        world.bgp_up(peer)
    assert world.way(SHARED) == set(PEERS)
    for _ in range(STEPS):
        world.step()
    world.mend()
    log = world.log
    assert {peer: world.way(BLOCKS[peer]) for peer in PEERS} == {peer: {peer} for peer in PEERS}, log
    assert world.way(SHARED) == set(PEERS), log
    assert not [one for one in world.next_hops.ours.values() if one.held], log
    assert not world.core.bfd.dead, log
    assert not [peer for peer, one in world.sessions.items() if one.holding], log
