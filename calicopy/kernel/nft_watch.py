"""Notices that somebody changed our nft table.

Theory of operation: a firewall that is loaded anew often begins with `flush ruleset`, which takes our table with it:
NAT and protection are gone until it is written again. The kernel tells each change to a multicast group
(NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h). Nothing of it is taken apart: what names our table leads to a look at
it by `NftTable`, which leaves it when it is as it should be. So our own writes cost one look more, and nothing else.
"""
from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from calicopy.kernel.nft import TABLE

_NETLINK_NETFILTER = 12
_NFTABLES_GROUP = 7
_NAMED = TABLE.encode() + b"\0"
_PORTION = 64  # datagrams at once, so that the loop goes on


class NftWatch:
    """The multicast group, in the network namespace of the calling thread. OSError (EPERM) without CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 1 << (_NFTABLES_GROUP - 1)))
        except OSError:
            self._socket.close()
            raise
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    async def changes(self) -> AsyncIterator[None]:
        """Once for any number of changes since the last time, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

    def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_PORTION):
                try:
                    found = _NAMED in self._socket.recv(1 << 16)
                except BlockingIOError:
                    raise
                except OSError:  # an overrun: what was lost may have been ours
                    found = True
                if found:
                    self._changed.set()
