"""The kernel's event socket, on the agent's loop.

Theory of operation: one socket in the groups of links, addresses, routes and nexthop objects. A socket filter inside
the kernel drops the echo of what our own writer does, so 100,000 writes of ours cost the loop nothing. What is read is
merged into one pending picture at once, and handed out when the reader comes for it; so a slow reader costs memory by
changed prefix, not by event. An overrun (ENOBUFS) becomes an event itself, and forgets what was pending, since all is
to be read again.
"""
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable

from calicopy.fib.types import NEXT_HOP_IDS, RouteTarget
from calicopy.kernel.dump import parse_route
from calicopy.kernel.encode import Identity
from calicopy.kernel.events import (
    ForeignRoutesChanged,
    KernelEvent,
    KernelEventsLost,
    LinksChanged,
    NextHopsChanged,
    RoutesChanged,
    UnderlayChanged,
)
from calicopy.kernel.foreign import inside_of
from calicopy.kernel.neighbors import NDMSG
from calicopy.kernel.netlink import (
    FAMILY_OF,
    IFADDRMSG,
    IFF_LOWER_UP,
    IFF_RUNNING,
    IFF_UP,
    IFINFOMSG,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_ROUTE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELNEXTHOP,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNETCONF,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_NETCONF,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_NEXTHOP,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
    messages,
)
from calicopy.kernel.nexthops import parse_next_hop
from calicopy.net import Family, Packed, Prefix

_GROUPS = (
    RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
    RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF,
)  # fmt: skip
_DATAGRAMS_AT_ONCE = 200
"""How many the loop reads before others have their turn: about 2 ms."""
_SO_ATTACH_FILTER = 26
_RECEIVE_BUFFER = 4 << 20


class Monitor:
    """Reads events once `start` was called on a running loop; `events` hands them out, to one reader."""

    def __init__(
        self, identity: Identity, *, ignored_ports: tuple[int, ...] = (), receive_buffer: int = _RECEIVE_BUFFER
    ) -> None:
        """`ignored_ports`: the sockets that write for us. `receive_buffer`: octets."""
        self._identity = identity
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
        )
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if ignored_ports:
                _drop_from(self._socket, ignored_ports)
            self._socket.bind((0, 0))
            for group in _GROUPS:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            with contextlib.suppress(OSError):  # a kernel before 5.3 has no such group, and no such objects
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP)
        except BaseException:
            self._socket.close()
            raise
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self.watched: frozenset[int] = frozenset()
        """Devices by index whose neighbor and forwarding entries count as changes of the link."""
        self._up: set[int] = set()
        self._links = False
        self._lost_interfaces: set[int] = set()
        self._next_hops: set[int] = set()
        self._underlay = self._foreign = False
        self._inside: dict[Family, Callable[[Packed], bool]] = {}
        self._overrun = False
        self._routes: dict[Family, dict[Packed, RouteTarget | None]] = {family: {} for family in Family}

    def start(self) -> None:
        """Begin to read, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Stop; a reader of `events` comes to its end."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._closed = True
        self._socket.close()
        self._wake.set()

    async def events(self) -> AsyncIterator[KernelEvent]:
        """The events, merged since the last ones were handed out; ends when the monitor is closed."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            for event in self._take():
                yield event

    def _take(self) -> list[KernelEvent]:
        taken: list[KernelEvent] = []
        if self._overrun:
            taken.append(KernelEventsLost())
        elif self._links:
            taken.append(LinksChanged(frozenset(self._lost_interfaces)))
        if self._next_hops and not self._overrun:  # before the routes that they lead
            taken.append(NextHopsChanged(frozenset(self._next_hops)))
        changes = {family: routes for family, routes in self._routes.items() if routes}
        if changes and not self._overrun:
            taken.append(RoutesChanged(changes))
            self._routes = {family: {} for family in Family}
        if self._underlay and not self._overrun:
            taken.append(UnderlayChanged())
        if self._foreign and not self._overrun:
            taken.append(ForeignRoutesChanged())
        self._forget()
        return taken

    def _forget(self) -> None:
        self._links = self._underlay = self._foreign = self._overrun = False
        self._lost_interfaces.clear()
        self._next_hops.clear()
        for routes in self._routes.values():
            routes.clear()

    def _readable(self) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._forget()
                self._overrun = True
                continue
            self._take_in(data)
        if self._overrun or self._links or self._underlay or self._next_hops or any(self._routes.values()):
            self._wake.set()

    def _take_in(self, data: bytes) -> None:
        for kind, _, _, start, end in messages(data):
            if kind in (RTM_NEWROUTE, RTM_DELROUTE):
                with contextlib.suppress(struct.error):  # a message cut short is as good as one not sent
                    self._route(kind, data, start, end)
            elif kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
                number = parse_next_hop(data, start, end).id
                if number in NEXT_HOP_IDS:
                    self._next_hops.add(number)
            elif kind == RTM_NEWNETCONF:  # forwarding or rp_filter of a device
                self._links = True
            elif kind in (RTM_NEWLINK, RTM_DELLINK):
                self._link(kind, data, start)
            elif kind in (RTM_NEWADDR, RTM_DELADDR):
                self._links = True
                if kind == RTM_DELADDR:
                    self._lost_interfaces.add(IFADDRMSG.unpack_from(data, start)[4])
            elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH) and NDMSG.unpack_from(data, start)[1] in self.watched:
                self._links = True

    def _link(self, kind: int, data: bytes, start: int) -> None:
        _, _, ifindex, flags, _ = IFINFOMSG.unpack_from(data, start)
        self._links = True
        # The kernel flushes nexthop objects when carrier goes too, though the interface stays up.
        if kind == RTM_NEWLINK and flags & IFF_UP and flags & (IFF_RUNNING | IFF_LOWER_UP):
            self._up.add(ifindex)
        elif kind == RTM_DELLINK or ifindex in self._up:
            self._up.discard(ifindex)
            self._lost_interfaces.add(ifindex)

    def seen_up(self, ifindexes: set[int]) -> None:
        """Interfaces that have been up: the first event that says "down" or "no carrier" is a change then."""
        self._up |= ifindexes

    def set_pools(self, pools: Iterable[Prefix]) -> None:
        """Where routes of others that go before ours are told of."""
        cidrs = tuple(pools)
        self._inside = {family: inside_of(family, cidrs) for family in Family}

    def _route(self, kind: int, data: bytes, start: int, end: int) -> None:
        family = FAMILY_OF.get(data[start])
        route = None if family is None else parse_route(family, data, start, end)
        if family is None or route is None:
            return
        if route.protocol != self._identity.protocol:
            self._underlay = True
            if route.metric < self._identity.metric and family in self._inside:
                self._foreign = self._foreign or self._inside[family](route.packed)
        if route.metric != self._identity.metric:
            return
        # A foreign route at a key of ours: on NEWROUTE it may have replaced ours, on DELROUTE it has made room.
        ours = route.protocol == self._identity.protocol and kind == RTM_NEWROUTE
        self._routes[family][route.packed] = route.target if ours else None


def _drop_from(monitor: socket.socket, ports: tuple[int, ...]) -> None:
    """Have the kernel drop messages whose nlmsg_pid (octets 12 to 15) is in `ports`: classic BPF (linux/filter.h)."""
    # A load in classic BPF reads big-endian; nlmsg_pid is in the host's order. Each comparison jumps to the last
    # instruction, "drop", when it is equal, and goes on to the next when not.
    values = [struct.unpack(">I", struct.pack("=I", port))[0] for port in ports]
    program = [(0x20, 0, 0, 12)]
    program += [(0x15, len(values) - place, 0, value) for place, value in enumerate(values)]
    program += [(0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    with contextlib.suppress(OSError):  # without it our own writes are read back: slower, not wrong
        monitor.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(memory))
        )
