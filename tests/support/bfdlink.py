"""Two BFD sessions and the link between them, in memory: it loses, delays and reorders, and can be cut either way."""
from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random

from calicopy.bfd.auth import Authentication
from calicopy.bfd.negotiation import Parameters
from calicopy.bfd.packet import Packet, Refusal, State, decode
from calicopy.bfd.session import NEVER, Session


def parameters(tx_ms: int = 100, rx_ms: int = 100, mult: int = 3) -> Parameters:
    """As the mesh has them, unless told."""
    return Parameters(desired_min_tx_us=tx_ms * 1000, required_min_rx_us=rx_ms * 1000, detect_mult=mult)


def packet_of(octets: bytes | None) -> Packet:
    """What was sent; it has to be something, and well-formed."""
    assert octets is not None
    packet = decode(octets)
    assert isinstance(packet, Packet), packet
    return packet


def half() -> float:
    """A random number that is none."""
    return 0.5


@dataclass
class Link:
    """`ends` talk. `sent`: time, which end, octets. Delays are seconds; `loss` a share."""

    ends: list[Session]
    seed: int = 0
    now: float = 1000.0
    delay_s: float = 0.001
    spread_s: float = 0.0
    loss: float = 0.0
    cut: set[int] = field(default_factory=set)  # ends whose packets are lost
    sent: list[tuple[float, int, bytes]] = field(default_factory=list)
    refused: list[tuple[int, Refusal]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self._flying: list[tuple[float, int, int, bytes]] = []

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        while True:
            at = min(self._flying[0][0] if self._flying else NEVER, *(session.deadline for session in self.ends))
            if at > end:
                break
            self.now = max(self.now, at)
            self._step()
        self.now = end

    def until_up(self, within: float = 10.0) -> None:
        """Both are Up."""
        end = self.now + within
        while not self.up() and self.now < end:
            self.run(0.01)
        assert self.up(), self.ends

    def up(self) -> bool:
        """Whether both are."""
        return all(session.state is State.UP for session in self.ends)

    def packets(self, end: int, since: float = 0.0) -> list[tuple[float, Packet]]:
        """What an end sent."""
        return [(at, packet_of(octets)) for at, who, octets in self.sent if who == end and at >= since]

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, to, octets = heapq.heappop(self._flying)
            refusal = self.ends[to].receive(octets, self.now)
            if refusal is not None:
                self.refused.append((to, refusal))
        for who, session in enumerate(self.ends):
            while session.deadline <= self.now:
                octets = session.poll(self.now)
                if octets is not None:
                    self._send(who, octets)

    def _send(self, who: int, octets: bytes) -> None:
        self.sent.append((self.now, who, octets))
        if who not in self.cut and self.random.random() >= self.loss:
            arrival = self.now + self.delay_s + self.spread_s * self.random.random()
            heapq.heappush(self._flying, (arrival, len(self.sent), 1 - who, octets))


def pair(
    left: Parameters | None = None, right: Parameters | None = None, *, seed: int = 0,
    auth: tuple[Authentication | None, Authentication | None] = (None, None),
) -> Link:
    """A link with two sessions that have just begun."""
    randoms = Random(seed), Random(seed + 1)
    ends = [
        Session(
            wanted or parameters(), discriminator=0x11 * (end + 1), now=1000.0, random=randoms[end].random,
            auth=auth[end],
        )
        for end, wanted in enumerate((left, right))
    ]
    return Link(ends, seed=seed)


def up_pair(left: Parameters | None = None, right: Parameters | None = None, *, seed: int = 0) -> Link:
    """Both Up, and done with their polls."""
    link = pair(left, right, seed=seed)
    link.until_up()
    link.run(3.0)
    assert not any(session.timers.polling for session in link.ends)
    return link
