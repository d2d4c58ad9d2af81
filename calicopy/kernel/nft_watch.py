"""Notices that somebody changed an nft table of ours.

Theory of operation: a firewall that is loaded anew often begins with `flush ruleset`, which takes our tables with it:
NAT and protection are gone until they are written again. The kernel tells each change to a multicast group
(NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h). Nothing of it is taken apart: what names a table of ours leads to a
look at it, which leaves it when it is as it should be. So our own writes cost one look more, and nothing else.
"""
from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Collection

_NETLINK_NETFILTER = 12
_NFTABLES_GROUP = 7
_PORTION = 64  # datagrams at once, so that the loop goes on


class NftWatch:
    """The multicast group, in the network namespace of the calling thread. OSError (EPERM) without CAP_NET_ADMIN."""

    def __init__(self, tables: Collection[str]) -> None:
        self._named = {table: table.encode() + b"\0" for table in tables}
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 1 << (_NFTABLES_GROUP - 1)))
        except OSError:
            self._socket.close()
            raise
        self._changed: set[str] = set()
        self._any = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        """The tables that changed, once for any number of changes since the last time, until cancelled."""
        while True:
            await self._any.wait()
            changed = frozenset(self._changed)
            self._any.clear()
            self._changed.clear()
            yield changed

    def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_PORTION):
                try:
                    said = self._socket.recv(1 << 16)
                    self._changed.update(table for table, named in self._named.items() if named in said)
                except BlockingIOError:
                    raise
                except OSError:  # an overrun: what was lost may have been ours
                    self._changed.update(self._named)
                if self._changed:
                    self._any.set()
