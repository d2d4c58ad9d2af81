"""The rows of the interop matrix, and what a cell of it says."""
from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Row(enum.Enum):
    """One thing that calicopy and another BGP daemon do together; the value is the row's title."""

    SESSION = "session up"
    EXCHANGE = "exchange"
    COMMUNITIES_IN = "communities from it"
    COMMUNITIES_OUT = "communities to it"
    REFLECTED = "it reflects"
    ADD_PATH_IN = "ADD-PATH from it"
    IPV6_OVER_IPV4 = "IPv6 over an IPv4 session"
    REFRESH_IN = "refresh: calicopy asks"
    REFRESH_OUT = "refresh: it asks"
    WITHDRAW = "withdraw"
    RESTARTING = "graceful restart: calicopy's speaker"
    HELPER = "graceful restart: the daemon"
    AGENT = "restart of calicopy's agent"
    REFLECTS = "calicopy reflects"
    ADD_PATH_OUT = "ADD-PATH to it"
    EBGP = "eBGP"
    IPV6_OVER_IPV6 = "IPv6 over an IPv6 session"
    MD5 = "MD5"
    TTL_SECURITY = "TTL security"


MEANINGS: Mapping[Row, str] = {
    Row.SESSION: "both sides call the session Established",
    Row.EXCHANGE: "its prefixes are in calicopy's kernel, calicopy's block is in its table, with the right next hops",
    Row.COMMUNITIES_IN: "standard and large ones that it sets are read as they are",
    Row.COMMUNITIES_OUT: "the owner's large community, and those of `bgp.communities`, are in its table",
    Row.REFLECTED: "two nodes without a mesh hear of each other: ORIGINATOR_ID, CLUSTER_LIST, next hop, owner",
    Row.ADD_PATH_IN: "two paths of one prefix arrive over one session, and both are in the kernel",
    Row.IPV6_OVER_IPV4: "IPv6 prefixes both ways over a session between IPv4 addresses",
    Row.REFRESH_IN: "calicopy asks for the table (RFC 2918), and gets it, with the session up all the time",
    Row.REFRESH_OUT: "the daemon asks, and gets the table, with the session up all the time",
    Row.WITHDRAW: "a prefix that is withdrawn is gone at the other side, both ways",
    Row.RESTARTING: "ExaBGP is killed and comes back; the daemon keeps calicopy's routes meanwhile (RFC 4724)",
    Row.HELPER: "the daemon is killed and comes back; calicopy's kernel keeps its routes meanwhile (RFC 4724)",
    Row.AGENT: "the agent is killed and comes back; calicopy's kernel keeps the daemon's routes meanwhile",
    Row.REFLECTS: "calicopy is the reflector of the daemon and of another node, both ways",
    Row.ADD_PATH_OUT: "calicopy reflects two paths of one prefix to it over one session (RFC 7911)",
    Row.EBGP: "exchange with another AS: AS_PATH and next hop",
    Row.IPV6_OVER_IPV6: "IPv6 prefixes both ways over an eBGP session between IPv6 addresses",
    Row.MD5: "no session while the keys differ (the kernel counts the bad segments), one as soon as they are the same",
    Row.TTL_SECURITY: "no session over a router in between, from either side (the kernel counts the dropped segments)",
}


class Outcome(enum.Enum):
    """What came of a cell; the value is what the table shows."""

    OK = "ok"
    ABSENT = "n/a"
    FAILED = "FAIL"


@dataclass(frozen=True, slots=True)
class Cell:
    """One daemon and one row. `note` is the source for n/a, the reason for a failure. `seconds` is how long it took."""

    daemon: str
    row: Row
    outcome: Outcome
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """All cells of one daemon. `version` is what its program says of itself."""

    daemon: str
    title: str
    version: str
    cells: tuple[Cell, ...]

    def cell(self, row: Row) -> Cell:
        """The cell of `row`. KeyError when it was not run."""
        for each in self.cells:
            if each.row is row:
                return each
        raise KeyError(row)
