"""One session in the process: its state machine, the socket it sends from, its slot, and where it is in the wheel."""
from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from calicopy.bfd.auth import Authentication
from calicopy.bfd.negotiation import Parameters
from calicopy.bfd.packet import Refusal, State
from calicopy.bfd.process.keys import KeyRefusedError, read_authentication, unknown_key
from calicopy.bfd.process.settings import AUTO, MULTI, SINGLE, SessionSetting, StateLine
from calicopy.bfd.process.sockets import MULTI_PORT, SINGLE_PORT, connect
from calicopy.bfd.process.state import Kept, Slot, named
from calicopy.bfd.process.wheel import Timed
from calicopy.bfd.session import Session

_GTSM_TTL = 255
Random = Callable[[], float]


class Runner(Timed):
    """`problem`: why it cannot send, `key_problem`: why nothing authenticates; empty when all is well.

    `multihop` is what is spoken now, also where the setting leaves that open.
    """

    __slots__ = (
        "_auth", "_random", "_socket", "acknowledged", "key_problem", "least_ttl", "multihop", "problem",
        "seen_changes", "seen_downs", "send_failures", "sequenced", "session", "setting", "slot",
    )  # fmt: skip

    def __init__(
        self, setting: SessionSetting, slot: Slot, kept: Kept | None, *, discriminator: int, random: Random, now: float
    ) -> None:
        super().__init__()
        self.setting = setting
        self.slot = slot
        self._random = random
        self._socket: socket.socket | None = None
        self.problem = self.key_problem = ""
        self.send_failures = 0
        self._auth: Authentication | None = None
        self._read_key(setting, None)
        self.multihop = setting.hop == MULTI or (setting.hop == AUTO and kept is not None and kept.multihop)
        self.acknowledged = 0
        restored = None if kept is None else self._restored(kept, now)
        if restored is not None and kept is not None:
            self.session = restored
            self.session.dropped[:] = kept.dropped
            self.acknowledged = kept.acknowledged
        else:
            self.session = Session(
                _parameters(setting), discriminator=discriminator, now=now, random=random, auth=self._auth,
                admin_down=setting.admin_down,
            )  # fmt: skip
        self.session.set_admin_down(setting.admin_down, now)
        self.least_ttl = setting.min_ttl if self.multihop else _GTSM_TTL
        self.seen_changes, self.seen_downs = self.session.changes, self.session.downs

    def _restored(self, kept: Kept, now: float) -> Session | None:
        try:
            session = Session.restored(
                kept.hot, kept.saved, _parameters(self.setting), random=self._random, auth=self._auth
            )
        except ValueError:
            return None
        session.listen_again(now)
        return session

    # What it is told

    def use(self, setting: SessionSetting, now: float) -> None:
        """Other settings of the same peer, or the same ones with another key in the file."""
        before = self.setting
        self._read_key(setting, before)
        if (setting.local, setting.hop) != (before.local, before.hop):
            self.multihop = setting.hop == MULTI or (setting.hop == AUTO and self.multihop)
            self.close()
        self.setting = setting
        self.least_ttl = setting.min_ttl if self.multihop else _GTSM_TTL
        self.session.set_parameters(_parameters(setting), auth=self._auth)
        self.session.set_admin_down(setting.admin_down, now)

    def _read_key(self, setting: SessionSetting, before: SessionSetting | None) -> None:
        """A key that cannot be read any more stays in force; one that never could is one that nobody has."""
        try:
            self._auth, self.key_problem = read_authentication(setting), ""
        except KeyRefusedError as problem:
            self.key_problem = f"key of {setting.peer}: {problem}"
            if before is None or not _same_key(before, setting) or self._auth is None:
                self._auth = unknown_key(setting)
        self.sequenced = self._auth is not None and self._auth.sequenced

    def acknowledge(self, downs: int) -> None:
        """The agent has taken the Downs up to this one as its own wish."""
        self.acknowledged = max(self.acknowledged, min(downs, self.session.downs))
        self.save()

    def holding(self) -> bool:
        """Whether its next hops are to be out of use by our word."""
        return self.session.downs > self.acknowledged

    # Packets

    def receive(self, octets: bytes, ttl: int, *, multihop: bool, now: float) -> bool:
        """A datagram that is this session's. Whether anything but counters changed."""
        session = self.session
        if multihop is not self.multihop or ttl < self.least_ttl:
            self._elsewhere(octets, ttl, multihop=multihop, now=now)
        elif session.receive(octets, now) is None and session.changes == self.seen_changes:
            self.slot.write_hot(session.save_hot())
        return session.changes != self.seen_changes

    def _elsewhere(self, octets: bytes, ttl: int, *, multihop: bool, now: float) -> None:
        """Another port than ours, or too far away: dropped, unless the setting lets us do as the peer does."""
        session = self.session
        theirs = multihop or ttl < _GTSM_TTL
        least_ttl = self.setting.min_ttl if theirs else _GTSM_TTL
        may_go = self.setting.hop == AUTO and theirs is not self.multihop and session.state is not State.UP
        if not may_go or ttl < least_ttl:
            session.dropped[Refusal.TTL if multihop is self.multihop else Refusal.UNKNOWN_SESSION] += 1
        elif session.receive(octets, now) is None:
            self.multihop, self.least_ttl = theirs, least_ttl
            self.close()

    def send(self, octets: bytes) -> None:
        """Send, if that is possible now. Never raises: what fails is counted and said, and the next packet tried again.

        There is no pause after a failure: a route that is away for a moment must not cost a whole detection time.
        """
        try:
            if self._socket is None:
                port = MULTI_PORT if self.multihop else SINGLE_PORT
                number = self.session.local_discriminator
                self._socket = connect(self.setting.local, self.setting.peer, port=port, number=number)
            try:
                self._socket.send(octets)
            except ConnectionRefusedError:  # of a packet before: the peer has no BFD now; this one was not sent
                self._socket.send(octets)
            self.problem = ""
        except OSError as error:
            self.send_failures += 1
            self.problem = f"cannot send to {self.setting.peer}: {error.strerror}"
            if error.errno == errno.ECONNREFUSED:  # not worth a word: the session is Down, and says so
                self.problem = ""
            elif error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self.close()  # a link-local address may be on a device that was made anew

    def say_admin_down(self, now: float) -> None:
        """Tell the peer that this is meant (RFC 5880 section 6.8.16): it will not be told again."""
        self.session.set_admin_down(True, now)
        octets = self.session.packet()
        self.save()
        self.send(octets)

    def close(self) -> None:
        """Nothing more is sent, until something is."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # What it says

    def save(self) -> None:
        """Put all that it is into its slot."""
        session = self.session
        self.slot.write(
            session.save(), multihop=self.multihop, acknowledged=self.acknowledged, dropped=session.dropped
        )
        self.slot.write_hot(session.save_hot())

    def line(self) -> StateLine:
        """What the agent is told."""
        session = self.session
        line = StateLine(self.setting.peer, MULTI if self.multihop else SINGLE)
        line.state, line.remote_state = int(session.state), int(session.remote_state)
        line.diagnostic, line.remote_diagnostic = int(session.diagnostic), session.remote_diagnostic
        line.local_discriminator = session.local_discriminator
        line.remote_discriminator = session.remote_discriminator
        line.remote_independent = session.remote_independent
        line.ups, line.downs, line.changed_at = session.ups, session.downs, session.changed_at
        line.heard, line.holding = session.remote_discriminator != 0, self.holding()
        line.tx_interval_us, line.detection_time_us = session.tx_interval_us(), session.detection_time_us()
        line.remote_detect_mult = session.timers.remote_detect_mult
        line.sent, line.received = session.sent, session.received
        line.dropped = named(session.dropped)
        if self.send_failures:
            line.dropped["send-failed"] = self.send_failures
        return line


def _parameters(setting: SessionSetting) -> Parameters:
    return Parameters(
        desired_min_tx_us=setting.tx_us, required_min_rx_us=max(1, setting.rx_us), detect_mult=setting.detect_mult
    )


def _same_key(one: SessionSetting, other: SessionSetting) -> bool:
    return (one.auth_type, one.auth_key_id) == (other.auth_type, other.auth_key_id)
