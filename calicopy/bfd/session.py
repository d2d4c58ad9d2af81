"""A BFD session in asynchronous mode (RFC 5880 section 6), without sockets and clock: events and `now` in, packets out.

Theory of operation. Whoever runs sessions has one `Session` for each peer, gives each a random discriminator that no
other session of its has, and calls

    session.receive(octets, now)    each datagram that is this session's: None, or the `Refusal` (counted already)
    session.poll(now)               once `now >= session.deadline`, until that is in the future: octets to send, or None
    session.set_parameters(...), session.set_admin_down(...)        when the configuration says something else

and looks at `deadline` after each call: what wants to be sent at once (an answer to a poll, a change of state) makes
it earlier. `now` is seconds of a monotonic clock that other processes of this boot share. What has come in
has to be read before `poll` is asked, so that a runner that slept too long does not take its own sleep for the peer's;
one that could not read all says up to which time it did.
A `deadline` may be early (packets move the detection time without touching it), and is never late.

Whose datagram it is (section 6.8.6): Your Discriminator (octets 8 to 11, `your_discriminator`) when it is not 0, else
the address. `receive` takes only datagrams whose Your Discriminator is 0 or the session's own. TTL, addresses and
ports are the runner's to check; `dropped` has places for what it refuses.

What is cheap. A peer that is Up says the same octets again and again: those are compared, and only the detection time
moves. Ours are built once and kept; with SHA1, that is the header, and each packet has a new number and digest.

What is seen of it: the attributes. `changes` grows with each change of anything but the counters and the time of the
last packet. `downs` counts the times that Up was left although nobody asked for it, `ups` the times that it was
reached. Times are seconds, intervals microseconds.

Killed and back: `save_hot()` (changes with each packet) and `save()` (changes with `changes`) are octets, laid out as
`HOT` and `SAVED` say, and `Session.restored` goes on from them as if nothing had been: Up stays Up unless the detection
time has passed meanwhile, which the first `poll` then says.

What is not there: demand mode of ours (a peer's is respected: section 6.8.7), echo, the passive role.
"""
from __future__ import annotations

import struct
from collections.abc import Callable

from calicopy.bfd.auth import WRAP, Authentication, Sequence, same_key
from calicopy.bfd.negotiation import Negotiation, Parameters, jittered
from calicopy.bfd.packet import (
    AUTHENTICATED,
    FINAL,
    HEADER_LENGTH,
    INDEPENDENT,
    POLL,
    Diagnostic,
    Packet,
    Refusal,
    State,
    decode,
    encode_header,
)

HOT = struct.Struct("=dQQII?")  # save_hot()
SAVED = struct.Struct("=IIBBBBBdQQ??IIBIIBII?")  # save()

NEVER = float("inf")
AT_ONCE = float("-inf")
_YOURS = slice(8, 12)
_NOTHING = b""

# Section 6.8.6: our state and the one that comes in to the next one; what is not here changes nothing.
TRANSITIONS = {
    (State.DOWN, State.DOWN): State.INIT,
    (State.DOWN, State.INIT): State.UP,
    (State.INIT, State.ADMIN_DOWN): State.DOWN,
    (State.INIT, State.INIT): State.UP,
    (State.INIT, State.UP): State.UP,
    (State.UP, State.ADMIN_DOWN): State.DOWN,
    (State.UP, State.DOWN): State.DOWN,
}


def your_discriminator(octets: bytes) -> int:
    """Which session a datagram names; 0: none, or it is too short to."""
    return int.from_bytes(octets[_YOURS], "big")


class Session:
    """One session. `random` gives numbers from 0 (inclusive) to 1, for jitter and the first sequence number."""

    __slots__ = (
        "_auth", "_detect_at", "_detection_s", "_final", "_next_tx", "_not_before", "_octets", "_random", "_repeat",
        "_repeat_header", "changed_at", "changes", "deadline", "diagnostic", "downs", "dropped", "heard_at",
        "local_discriminator", "received", "remote_diagnostic", "remote_discriminator", "remote_independent",
        "remote_state", "sent", "sequence", "state", "timers", "ups",
    )

    def __init__(
        self, parameters: Parameters, *, discriminator: int, now: float, random: Callable[[], float],
        auth: Authentication | None = None, admin_down: bool = False,
    ) -> None:
        assert 0 < discriminator < WRAP
        self.local_discriminator = discriminator
        self.remote_discriminator = 0  # not 0: valid packets of the peer come in
        self.state = State.ADMIN_DOWN if admin_down else State.DOWN
        self.diagnostic: int = Diagnostic.ADMINISTRATIVELY_DOWN if admin_down else Diagnostic.NONE
        self.remote_state = State.DOWN  # as last heard
        self.remote_diagnostic = 0
        self.remote_independent = False
        self.timers = Negotiation(parameters)
        self.sequence = Sequence(sent=int(random() * WRAP))
        self.ups = self.downs = self.sent = self.received = self.changes = 0
        self.dropped = [0] * len(Refusal)
        self.changed_at = now  # when `state` was reached
        self.heard_at = AT_ONCE  # when the last valid packet came
        self._auth = auth
        self._random = random
        self._final = False  # a poll of the peer's wants its answer
        self._octets = _NOTHING  # the packet to send, or with sequence numbers its header, until something changes
        self._repeat: bytes | None = None  # what came last, when hearing it again changes nothing
        self._repeat_header: bytes | None = None  # its header, when each packet has another number
        self._detection_s = 0.0
        self._detect_at = NEVER
        self._not_before = AT_ONCE  # the peer is not given up before, since nobody listened (`listen_again`)
        self._next_tx = self.deadline = AT_ONCE

    # Events

    def receive(self, octets: bytes, now: float) -> Refusal | None:
        """A datagram's payload came. Never raises; a refused one changes nothing but its counter."""
        if octets == self._repeat:
            self._repeated(now)
            return None
        header, auth = self._repeat_header, self._auth
        if header and auth and octets[:HEADER_LENGTH] == header and auth.repeats(
            octets, self.sequence, self.timers.remote_detect_mult
        ):
            self._repeated(now)
            return None
        packet = decode(octets)
        refusal = self._refuse(packet, now) if isinstance(packet, Packet) else packet
        if isinstance(packet, Packet) and refusal is None:
            self._take(packet, octets, now)
        elif refusal is not None:
            self.dropped[refusal] += 1
        return refusal

    def poll(self, now: float, read_up_to: float | None = None) -> bytes | None:
        """What is due: the end of the detection time, and a packet to send, if any.

        All that came in before `read_up_to` was read (None: before `now`): silence is known of up to then alone.
        """
        if (now if read_up_to is None else read_up_to) >= self._detect_at:
            self._expire(now)
        octets = None
        if self._final:
            self._final = False
            self.sent += 1
            octets = self._signed(self._header(final=True))
            if not self.timers.polling and self._next_tx <= now:  # it says all that was to be said
                self._next_tx = now + self._interval_s()
        elif now >= self._next_tx:
            news = self._next_tx == AT_ONCE and self.timers.remote_required_rx_us
            self._next_tx = now + self._interval_s()
            if news or self._next_tx != NEVER:
                octets = self.packet()
        self.deadline = min(self._next_tx, self._detect_at)
        return octets

    def set_parameters(self, parameters: Parameters, *, auth: Authentication | None) -> None:
        """Other intervals (a poll sequence tells the peer, section 6.8.3), multiplier (6.8.12) or key."""
        if not same_key(auth, self._auth):
            self._auth = auth
            self.sequence.forget()
            self._say()
        if self.timers.want(parameters, up=self.state is State.UP):
            self._say()
        self._retime()

    def set_admin_down(self, down: bool, now: float) -> None:
        """Hold the session down, or let it go again (section 6.8.16)."""
        if down != (self.state is State.ADMIN_DOWN):
            if down:
                self._go(State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN, now)
            else:
                self._go(State.DOWN, Diagnostic.NONE, now)

    # What it says

    def packet(self) -> bytes:
        """The packet to send now, whether one is due or not: for a runner that ends, and says so more than once."""
        self.sent += 1
        auth = self._auth
        if auth is None or not auth.sequenced:
            self._octets = self._octets or self._signed(self._header(final=False))
            return self._octets
        self._octets = self._octets or self._header(final=False)
        return self._signed(self._octets)

    def tx_interval_us(self) -> int:
        """The negotiated interval between our packets, before jitter; 0: the peer wants none."""
        return self.timers.tx_interval_us()

    def detection_time_us(self) -> int:
        """After how much silence the session is Down (section 6.8.4); 0 when nothing was heard yet."""
        return self.timers.detection_time_us()

    def _header(self, *, final: bool) -> bytes:
        timers, auth = self.timers, self._auth
        flags = INDEPENDENT | (FINAL if final else POLL if timers.polling else 0)
        header = Packet(
            state=self.state, diagnostic=self.diagnostic, flags=flags | AUTHENTICATED if auth else flags,
            detect_mult=timers.detect_mult, my_discriminator=self.local_discriminator,
            your_discriminator=self.remote_discriminator, desired_min_tx_us=timers.desired_tx_us,
            required_min_rx_us=timers.required_rx_us,
        )
        return encode_header(header, length=HEADER_LENGTH + auth.length if auth else HEADER_LENGTH)

    def _signed(self, header: bytes) -> bytes:
        auth = self._auth
        return header if auth is None else auth.sign(header, self.sequence.next() if auth.sequenced else 0)

    def _interval_s(self) -> float:
        """Until the next packet; NEVER while the peer wants none (section 6.8.7)."""
        timers = self.timers
        both_up = self.state is State.UP and self.remote_state is State.UP
        if timers.remote_demand and both_up and not timers.polling:
            return NEVER
        if not timers.remote_required_rx_us:
            return NEVER
        return jittered(timers.tx_interval_us(), timers.detect_mult, self._random)

    # What it hears

    def _refuse(self, packet: Packet, now: float) -> Refusal | None:
        if packet.your_discriminator and packet.your_discriminator != self.local_discriminator:
            return Refusal.UNKNOWN_SESSION
        if self._auth is None:
            return Refusal.AUTH_UNEXPECTED if packet.flags & AUTHENTICATED else None
        if not packet.flags & AUTHENTICATED:
            return Refusal.AUTH_MISSING
        if now >= self.heard_at + 2 * self._detection_s:
            self.sequence.forget()  # section 6.8.1, bfd.AuthSeqKnown
        return self._auth.refuse(packet, self.sequence)

    def _repeated(self, now: float) -> None:
        """A packet that says what the last one said, in a session that is Up."""
        self.received += 1
        self.heard_at = now
        self._detect_at = now + self._detection_s

    def _take(self, packet: Packet, octets: bytes, now: float) -> None:
        """Section 6.8.6, from where the packet is known to be the peer's."""
        self.received += 1
        self.heard_at = now
        self._not_before = AT_ONCE
        self.changes += 1
        timers = self.timers
        before = self.remote_discriminator, timers.polling, timers.tx_interval_us(), timers.remote_demand
        self.remote_discriminator = packet.my_discriminator
        self.remote_state = packet.state
        self.remote_diagnostic = packet.diagnostic
        self.remote_independent = bool(packet.flags & INDEPENDENT)
        timers.hear(packet)
        self._octets = _NOTHING
        if before != (self.remote_discriminator, timers.polling, timers.tx_interval_us(), timers.remote_demand):
            self._sooner(now)
        state = TRANSITIONS.get((self.state, packet.state))
        if state is State.DOWN:
            self._go(state, Diagnostic.NEIGHBOR_SIGNALED_DOWN, now, failed=packet.state is not State.ADMIN_DOWN)
        elif state is not None:
            self._go(state, Diagnostic.NONE if state is State.UP else self.diagnostic, now)  # why it failed, until Up
        if packet.flags & POLL and self.state is not State.ADMIN_DOWN:
            self._final = True
            self.deadline = AT_ONCE
        self._retime()
        if self.state is State.UP and not packet.flags & (POLL | FINAL):
            if self._auth is not None and self._auth.sequenced:
                self._repeat_header = packet.octets[:HEADER_LENGTH]
            else:
                self._repeat = octets

    def _expire(self, now: float) -> None:
        """The detection time passed without a packet (section 6.8.4), which in Down only makes the peer a stranger."""
        self.changes += 1
        self.remote_discriminator = 0
        self._detect_at = NEVER
        if self.state in (State.INIT, State.UP):
            self._go(State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED, now, failed=True)
        self.timers.forget()
        self._repeat = self._repeat_header = None
        self._octets = _NOTHING
        self._sooner(now)

    def _go(self, state: State, diagnostic: int, now: float, *, failed: bool = False) -> None:
        self.ups += state is State.UP
        self.downs += failed and self.state is State.UP
        self.state = state
        self.diagnostic = diagnostic
        self.changed_at = now
        self.timers.want(up=state is State.UP)
        self._say()
        self._retime()

    def _say(self) -> None:
        """What we send is something else now, and is sent at once (section 6.8.7, the last paragraph)."""
        self.changes += 1
        self._octets = _NOTHING
        self._next_tx = self.deadline = AT_ONCE

    def _sooner(self, now: float) -> None:
        """The interval to send may have shrunk, or sending may be wanted again."""
        self._next_tx = min(self._next_tx, now + self._interval_s())
        self.deadline = min(self.deadline, self._next_tx)

    def _retime(self) -> None:
        """Have the detection time as it follows from what is agreed and when the peer was heard."""
        self._repeat = self._repeat_header = None
        if self.remote_discriminator:
            self._detection_s = self.timers.detection_time_us() * 1e-6
            self._detect_at = max(self.heard_at + self._detection_s, self._not_before)
            self.deadline = min(self.deadline, self._detect_at)

    # Killed and back

    def save_hot(self) -> bytes:
        """What each packet changes (`HOT`). To be kept before a packet of `poll` is sent: its number is used up."""
        sequence = self.sequence
        return HOT.pack(self.heard_at, self.sent, self.received, sequence.sent, sequence.received, sequence.known)

    def save(self) -> bytes:
        """What changes with `changes` (`SAVED`)."""
        timers = self.timers
        return SAVED.pack(
            self.local_discriminator, self.remote_discriminator, self.state, self.diagnostic, self.remote_state,
            self.remote_diagnostic, self.remote_independent, self.changed_at, self.ups, self.downs, timers.polling,
            timers.poll_again, timers.desired_tx_us, timers.required_rx_us, timers.detect_mult, timers.used_tx_us,
            timers.used_rx_us, timers.remote_detect_mult, timers.remote_desired_tx_us, timers.remote_required_rx_us,
            timers.remote_demand,
        )

    def listen_again(self, now: float, *, since: float | None = None) -> None:
        """Nobody listened until now, so the silence before is not all the peer's: it has one more interval to be heard.

        Not one whose detection time, or the interval given before, was over when that began (`since`); where nobody
        knows when it began, not one that was silent for an interval more than the detection time. A time to come is of
        another clock.
        """
        self.heard_at = min(self.heard_at, now)
        self._retime()
        if self.remote_discriminator and self.timers.remote_detect_mult:
            grace_s = self._detection_s / self.timers.remote_detect_mult
            if (now - grace_s if since is None else since) < self._detect_at:
                self._not_before = now + grace_s
                self._detect_at = max(self._detect_at, self._not_before)

    @classmethod
    def restored(
        cls, hot: bytes, saved: bytes, parameters: Parameters, *, random: Callable[[], float],
        auth: Authentication | None = None,
    ) -> Session:
        """A session that goes on from what `save_hot` and `save` gave in the same boot, with its parameters of now.

        ValueError: these octets are not a session's.
        """
        try:
            heard_at, sent, received, *numbers = HOT.unpack(hot)
            local, remote, state, diagnostic, *facts = SAVED.unpack(saved)
            remote_state, remote_diagnostic, independent, changed_at, ups, downs, *timers = facts
            states = State(state), State(remote_state)
        except struct.error as error:
            raise ValueError("not the length of a saved session") from error
        if not local:
            raise ValueError("a session without a discriminator")
        session = cls(parameters, discriminator=local, now=changed_at, random=random, auth=auth)
        session.state, session.remote_state = states
        session.remote_discriminator, session.diagnostic = remote, diagnostic
        session.remote_diagnostic, session.remote_independent = remote_diagnostic, bool(independent)
        session.heard_at, session.sent, session.received = heard_at, sent, received
        session.sequence = Sequence(sent=numbers[0], received=numbers[1], known=numbers[2])
        session.ups, session.downs = ups, downs
        session.timers.restore(timers)
        session.set_parameters(parameters, auth=auth)
        return session
