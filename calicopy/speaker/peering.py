"""Sessions inside ExaBGP: their OPENs and timers, how a peer is dialled, and who may take an old session's place.

Imported by the launcher alone. Each class stands for one of ExaBGP's, whose module gets it under the same name.
"""
from __future__ import annotations

import contextlib
import inspect
import re
import select
import socket
import time
from collections.abc import Collection, Iterator
from typing import Any

from exabgp.bgp.fsm import FSM
from exabgp.bgp.message.open.capability import REFRESH, Capabilities, Capability, Negotiated
from exabgp.bgp.timer import SendTimer
from exabgp.logger import log
from exabgp.protocol.family import AFI, SAFI
from exabgp.reactor.delay import Delay
from exabgp.reactor.keepalive import KA
from exabgp.reactor.listener import Listener
from exabgp.reactor.loop import Reactor
from exabgp.reactor.network.tcp import set_minimum_ttl, set_sending_ttl
from exabgp.reactor.peer import ACTION, Peer
from exabgp.reactor.protocol import Protocol

REDIAL_STEP_S, REDIAL_LIMIT_S = 0.02, 0.5  # it takes 6 s to get there
SYN_RETRIES = 1  # the kernel gives up 3 s after the first SYN
KEEPALIVE_WORD = re.compile(r"(?:^| )keepalive=(\d+)$")  # at the end of a neighbor's description
COLLISION_S = 1.0  # so long after it came up, a session's second connection is one that was dialled at the same time
PROBE_S = 1  # an idle session asks the peer's kernel whether it still knows the connection
PROBES = 120
TCP_RTO_MAX_MS, RTO_MAX_MS = 44, 2000  # linux/tcp.h, since Linux 6.15; else the pauses grow as long as the outage
USER_TIMEOUT_EXTRA_S = 10  # beyond the hold time
TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28  # linux/tcp.h; Python does not name them
SYN_OCTETS = 60 + 60  # the longest IPv4 and TCP headers
QUIET_TURN_S = 0.25  # how often a session with nothing to read has a turn: its timers are seconds
AWAKE_S = 1.0  # how long all have each turn after the helper's last word: a command may take some turns
IPV4_UNICAST = (AFI.ipv4, SAFI.unicast)
GTSM_TTL = 255  # RFC 5082 section 3
AT_TTL = {4: 8, 6: 7}  # where an IP header has its TTL or hop limit, by its version


class HonestCapabilities(Capabilities):  # type: ignore[misc]  # exabgp ships no types
    """ExaBGP's capabilities, where F is 0 in the first session with a peer named cold (RFC 4724 section 3)."""

    cold: frozenset[str] = frozenset()

    def _graceful(self, neighbor: object, restarted: bool) -> None:
        super()._graceful(neighbor, restarted)
        offered = self.get(Capability.CODE.GRACEFUL_RESTART)
        peer = str(neighbor["peer-address"])  # type: ignore[index]  # exabgp ships no types
        if offered is None or not restarted or peer not in self.cold:
            return
        for family in offered:
            offered[family] = 0


class PlainNegotiated(Negotiated):  # type: ignore[misc]  # as above
    """What both OPENs agree on: a peer without the multiprotocol capability has IPv4 unicast (RFC 4760 section 8).

    ExaBGP would take such a peer's routes, and send it none.
    """

    def _negotiate(self) -> None:
        super()._negotiate()
        if not self.received_open.capabilities.announced(Capability.CODE.MULTIPROTOCOL):
            offered = self.sent_open.capabilities.get(Capability.CODE.MULTIPROTOCOL, ())
            self.families = [family for family in offered if family == IPV4_UNICAST]


class ShortDelay(Delay):  # type: ignore[misc]  # exabgp ships no types
    """The pause before a peer is dialled again: at most half a second, where ExaBGP's own grows to a minute.

    The passive side of a pair does not dial, so the other side's delay is how long a node that starts waits for routes.
    """

    _time: float
    _next: float

    def increase(self) -> None:
        """After an attempt that failed."""
        self._time = time.time() + self._next
        self._next = min(self._next + REDIAL_STEP_S, REDIAL_LIMIT_S)


class KeepaliveTimer(SendTimer):  # type: ignore[misc]  # exabgp ships no types
    """When a KEEPALIVE is due: as the neighbor's description says, at most a third of the negotiated hold time.

    ExaBGP has no setting for it. A description is no reason for a reset, so a change holds at once.
    """

    keepalive: int

    def __init__(self, session: Any, proto: Any) -> None:
        super().__init__(session, proto.negotiated.holdtime)
        self.third = self.keepalive
        self.proto = proto
        self.neighbor: Any = None

    def need_ka(self) -> bool:
        """Whether one is due now."""
        if self.neighbor is not self.proto.peer.neighbor:
            self.neighbor = self.proto.peer.neighbor
            found = KEEPALIVE_WORD.search(self.neighbor["description"] or "")
            self.keepalive = min(int(found[1]), self.third) if found else self.third
        return bool(super().need_ka())


class OwnKA(KA):  # type: ignore[misc]  # as above
    """ExaBGP's sender of KEEPALIVEs, by our timer."""

    def __init__(self, session: Any, proto: Any) -> None:
        super().__init__(session, proto)
        self.send_timer = KeepaliveTimer(session, proto)


class ProbingProtocol(Protocol):  # type: ignore[misc]  # as above
    """A session whose kernel asks the peer's, each second that nothing else is sent, whether the connection is alive.

    A peer that rebooted does not know it and answers with a RST, so that it is dialled again at once. What was not
    acknowledged is repeated every two seconds, for the same reason. A peer that does not answer at all keeps the
    session: that is the hold time's to judge.
    """

    def accept(self, incoming: Any) -> Any:
        """Take the connection that the peer opened."""
        accepted = super().accept(incoming)
        self._probe()
        return accepted

    def connect(self) -> Iterator[bool]:
        """Open a connection: True once it stands."""
        for connected in super().connect():
            if connected:
                self._probe()
            yield connected

    def _probe(self) -> None:
        made = self.connection.io if self.connection else None
        if made is None:
            return
        hold = int(self.neighbor["hold-time"])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(PROBE_S, -(-hold // PROBES)))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        if hold:
            with contextlib.suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS)
                timeout_ms = (hold + USER_TIMEOUT_EXTRA_S) * 1000  # else so many repetitions end the connection
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


class RestartingPeer(Peer):  # type: ignore[misc]  # as above
    """A peer that may come back before its old session was seen to end."""

    _idle = False

    def run(self) -> Any:
        """A turn: what is to be done next, an ACTION."""
        action = super().run()
        self._idle = action == ACTION.LATER
        if HonestCapabilities.cold and self.fsm == FSM.ESTABLISHED:  # the next session, whyever, is not the first one
            HonestCapabilities.cold -= {str(self.neighbor["peer-address"])}
        return action

    def is_quiet(self, ready: Collection[int]) -> bool:
        """Whether the session stands, had nothing to do in its last turn, and has not got anything to read since.
        `ready`: the descriptors that have.
        """
        if not self._idle or self._teardown is not None or self.fsm != FSM.ESTABLISHED:
            return False
        return self.socket() not in ready

    def handle_connection(self, connection: Any) -> Any:
        """Take a connection that the peer opened; anything but None refuses it.

        RFC 4724 section 5: with graceful restart, a new connection of a peer whose session is Established says that
        the old one is stale. It ends without a NOTIFICATION, as that would cost the routes. GTSM is judged before.
        """
        least = self.neighbor["incoming-ttl"]
        if not self.neighbor["listen"] or (least and not is_near(connection, least)):
            log.debug(lambda: f"{connection.name()} refused: it may not dial, or not from there", self.id())
            return connection.notification(6, 5, "connection rejected")  # ExaBGP drops it, and closes without a word
        if self.fsm == FSM.ESTABLISHED and not self.stopping() and self._is_stale():
            self._reset("the peer opened a new connection")
        return super().handle_connection(connection)

    def _is_stale(self) -> bool:
        if time.time() - self.stats["complete"] < COLLISION_S:
            return False
        code, negotiated = Capability.CODE.GRACEFUL_RESTART, self.proto.negotiated
        return bool(negotiated.sent_open.capabilities.get(code) and negotiated.received_open.capabilities.get(code))

    def resend(self, enhanced: bool, family: Any = None) -> None:
        """Send all routes again, between BoRR and EoRR only where both sides have them (RFC 7313 section 4)."""
        both = self.proto is not None and self.proto.negotiated.refresh == REFRESH.ENHANCED
        super().resend(enhanced and both, family)


class SharedListener(Listener):  # type: ignore[misc]  # as above
    """One listening socket for an address and port, where TTL security (RFC 5082) is each session's own.

    ExaBGP puts the rule on the socket, and so on all sessions that share it. Here the socket keeps the SYN of each
    connection for RestartingPeer to look at; what follows is checked by the connection's own socket.
    """

    def _listen(self, local_ip: Any, peer_ip: Any, local_port: int, use_md5: Any, md5_base64: Any, ttl_in: Any) -> None:
        super()._listen(local_ip, peer_ip, local_port, use_md5, md5_base64, None)
        if not ttl_in:
            return
        for made, (address, port, _, _) in self._sockets.items():
            if (address, port) == (local_ip.top(), local_port):
                made.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
                set_sending_ttl(made, local_ip.afi, address, GTSM_TTL)  # of the SYN-ACK


class TidyReactor(Reactor):  # type: ignore[misc]  # as above
    """ExaBGP's loop, which forgets the sockets that were closed, and lets quiet sessions be.

    Closed sockets stay in ExaBGP's poll set, where each wait for events ends at once because of them; it then sleeps 50
    ms a turn, whatever happens meanwhile: so every command took that long while any session was down.

    It also gives each session 20 turns a second, of 30 us each. Here one with nothing to read has four, for its timers;
    while the helper says something, and a second longer, all have a turn each time.
    """

    _ready: frozenset[int] | set[int] = frozenset()  # descriptors with something to read
    _all_at = 0.0  # when all have a turn again; monotonic seconds
    _awake_until = 0.0

    def _wait_for_io(self, sleeptime: int) -> Iterator[int]:
        ready = self._ready = set()
        for descriptor, event in self._poller.poll(0):
            ready.add(descriptor)
            if event & select.POLLNVAL:
                self._poller.unregister(descriptor)
        for descriptor in super()._wait_for_io(sleeptime):
            ready.add(descriptor)
            yield descriptor
        if not ready.isdisjoint(self.processes.fds):
            self._stay_awake()

    def _stay_awake(self) -> None:
        self._awake_until = time.monotonic() + AWAKE_S

    def reload(self) -> Any:
        """Read the configuration again."""
        self._stay_awake()
        return super().reload()

    def active_peers(self) -> set[str]:
        """The names of the peers that have a turn now."""
        peers: set[str] = super().active_peers()
        now = time.monotonic()
        if now < self._awake_until or now >= self._all_at or not self.asynchronous.ready():
            self._all_at = now + QUIET_TURN_S
            return peers
        return {name for name in peers if not self._peers[name].is_quiet(self._ready)}


def is_near(connection: Any, least: int) -> bool:
    """Whether the connection's SYN came with at least this TTL; from now on its socket takes no packet below."""
    if connection.io is None:
        return False
    syn = connection.io.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, SYN_OCTETS)
    if not syn or syn[AT_TTL[syn[0] >> 4]] < least:
        return False
    set_minimum_ttl(connection.io, connection.afi, connection.peer, least)
    return True


def register_forwarding_bit(cold: frozenset[str]) -> None:
    """Let ExaBGP's OPENs be built by HonestCapabilities. RuntimeError when its module has changed."""
    from exabgp.reactor import protocol

    if not issubclass(protocol.Capabilities, Capabilities) or not hasattr(Capabilities, "_graceful"):
        raise RuntimeError("OPENs are no longer built from Capabilities._graceful")
    HonestCapabilities.cold = cold
    protocol.Capabilities = HonestCapabilities


def register_negotiation() -> None:
    """Let sessions agree as PlainNegotiated says. RuntimeError when ExaBGP's module has changed."""
    from exabgp.reactor import protocol

    if not issubclass(protocol.Negotiated, Negotiated) or not hasattr(Negotiated, "_negotiate"):
        raise RuntimeError("sessions no longer agree by open.capability.Negotiated")
    protocol.Negotiated = PlainNegotiated


def register_redial_delay() -> None:
    """Let ExaBGP's peers use ShortDelay. RuntimeError when its module has changed."""
    from exabgp.reactor import peer

    if not issubclass(peer.Delay, Delay) or {"_time", "_next"} - vars(Delay()).keys():
        raise RuntimeError("peers no longer redial by reactor.delay.Delay")
    peer.Delay = ShortDelay


def register_dial_limit() -> None:
    """Let a dial that nobody answers fail after 3 s. RuntimeError when ExaBGP's module has changed.

    Else the kernel repeats the SYN for two minutes, at ever longer intervals, and a peer that came back in between
    waits for the next one: ExaBGP dials again only when the attempt has failed.
    """
    from exabgp.reactor.network import outgoing

    if not callable(getattr(outgoing, "create", None)):
        raise RuntimeError("outgoing connections are no longer made by reactor.network.outgoing.create")
    create = outgoing.create

    def limited(*arguments: object) -> socket.socket:
        made: socket.socket = create(*arguments)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYN_RETRIES)
        return made

    outgoing.create = limited


def register_keepalive() -> None:
    """Let sessions send KEEPALIVEs by KeepaliveTimer. RuntimeError when ExaBGP's module has changed."""
    from exabgp.reactor import peer

    _expect(SendTimer.need_ka, "self")
    _expect(KA.__init__, "self", "session", "proto")
    if "send_timer.need_ka()" not in inspect.getsource(KA):
        raise RuntimeError("KEEPALIVEs are no longer sent by keepalive.KA's send_timer")
    peer.KA = OwnKA


def register_probes() -> None:
    """Let sessions run on ProbingProtocol. RuntimeError when ExaBGP's module has changed."""
    from exabgp.reactor import peer

    _expect(Protocol.accept, "self", "incoming")
    _expect(Protocol.connect, "self")
    peer.Protocol = ProbingProtocol


def register_connections() -> None:
    """Let the reactor make RestartingPeers, and listen by SharedListener: both or none, as each relies on the other for
    TTL security. RuntimeError when ExaBGP's modules have changed.
    """
    from exabgp.reactor import listener, loop

    _expect(Peer.handle_connection, "self", "connection")
    _expect(Peer._reset, "self", "message", "error")
    _expect(Peer.resend, "self", "enhanced", "family")
    _expect(Peer.stopping, "self")
    _expect(Listener._listen, "self", "local_ip", "peer_ip", "local_port", "use_md5", "md5_base64", "ttl_in")
    loop.Peer = listener.Peer = RestartingPeer
    loop.Listener = SharedListener


def register_reactor() -> None:
    """Let ExaBGP run TidyReactor. RuntimeError when its modules have changed."""
    from exabgp.application import server

    _expect(Reactor._wait_for_io, "self", "sleeptime")
    _expect(Reactor.reload, "self")
    _expect(Reactor.active_peers, "self")
    _expect(Peer.run, "self")
    if not issubclass(server.Reactor, Reactor) or "self._poller.poll(" not in inspect.getsource(Reactor._wait_for_io):
        raise RuntimeError("the reactor no longer waits in loop.Reactor._wait_for_io")
    server.Reactor = TidyReactor


def _expect(function: Any, *parameters: str) -> None:
    if tuple(inspect.signature(function).parameters) != parameters:
        raise RuntimeError(f"{function.__qualname__} no longer takes {', '.join(parameters)}")
