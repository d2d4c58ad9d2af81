"""Anti-spoofing: what enters from a workload with a source address that is not its own is dropped.

Theory of operation: rp_filter = 1 on the host interface is the first lock. The kernel takes the larger of that and
`net.ipv4.conf.all.rp_filter`; 2 there, which is loose elsewhere, still drops on an interface that holds no IPv4 address
(fib_validate_source), as ours never should. The second lock holds also when one does, and for IPv6, which has no
rp_filter: one nft rule checks that the route back to the source leads out of the very interface. It is one rule for all
workloads, found by their device group: it names no address, so it never has to follow a change, and putting it back
(after a firewall's `flush ruleset`) is right at once for every workload. It goes by the host routes, the agent's own.
A second rule drops what only a router may say, and a host believes: a workload must not become the way out of its host.
The table `inet calicopy-workloads` is ours whole, and is replaced in one transaction.
"""
from __future__ import annotations

import socket
import struct
import subprocess
from threading import Lock

from calicopy.kernel.netlink import (
    I32,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    attributes,
    message,
    messages,
)
from calicopy.workload.types import DEVICE_GROUP, WorkloadError

TABLE = "calicopy-workloads"
CHAIN = "spoofed"
MARK = "calicopy:2"
"""The comment of each rule; the number goes up when they change, so that older ones are replaced."""
RULES = (
    f'iifgroup {DEVICE_GROUP} fib saddr . iif oif missing counter drop comment "{MARK}"',
    f"iifgroup {DEVICE_GROUP} icmpv6 type {{ nd-router-advert, nd-redirect }} "
    f'counter drop comment "{MARK}"',
)
SCRIPT = f"""table inet {TABLE} {{ }}
delete table inet {TABLE}
table inet {TABLE} {{
  chain {CHAIN} {{
    type filter hook prerouting priority -300; policy accept;
    {RULES[0]}
    {RULES[1]}
  }}
}}
"""
_TIMEOUT_S = 10.0
_NETLINK_NETFILTER = 12
_GET_RULE, _NEW_RULE = 10 << 8 | 7, 10 << 8 | 6  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE and NEWRULE
_RULE_TABLE, _RULE_CHAIN, _RULE_USERDATA = 1, 2, 7
_NFGENMSG = struct.Struct("=BBH")
_NFPROTO_INET = 1
_lock = Lock()


def ensure_guard(*, ipv4_only: bool) -> bool:
    """Put the rules in where one is missing; whether that was done. WorkloadError(nft-missing, nft-failed,
    no-permission) where it fails.

    For IPv4 alone rp_filter does without it, so there its failing is no error.
    """
    with _lock:
        if is_guarded():
            return False
        try:
            _install()
        except WorkloadError:
            if not ipv4_only:
                raise
            return False
        return True


def is_guarded() -> bool:
    """Whether the rules are in place. Asks the kernel itself: this is done often, and starting `nft` is slow."""
    body = _NFGENMSG.pack(_NFPROTO_INET, 0, 0)
    body += attribute(_RULE_TABLE, TABLE.encode() + b"\0") + attribute(_RULE_CHAIN, CHAIN.encode() + b"\0")
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netfilter:
            netfilter.settimeout(_TIMEOUT_S)
            netfilter.bind((0, 0))
            netfilter.send(message(_GET_RULE, NLM_F_DUMP, body))
            return _marked(netfilter) == len(RULES)
    except OSError:
        return False  # no nftables in the kernel, or no permission: `nft` will say it in words


def _marked(netfilter: socket.socket) -> int:
    found = 0
    while True:
        datagram = netfilter.recv(1 << 16)
        for kind, _, _, start, end in messages(datagram):
            if kind == NLMSG_DONE:
                return found
            if kind == NLMSG_ERROR:
                raise OSError(-I32.unpack_from(datagram, start)[0], "dump of rules")
            if kind == _NEW_RULE:
                userdata = attributes(datagram, start + _NFGENMSG.size, end).get(_RULE_USERDATA, b"")
                found += MARK.encode() + b"\0" in userdata


def _install() -> None:
    what = f"anti-spoofing rules (nft table inet {TABLE})"
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=SCRIPT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise WorkloadError(f"{what}: there is no nft command (package nftables)", "nft-missing") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkloadError(f"{what}: nft: {error}", "nft-failed") from error
    if done.returncode:
        code = "no-permission" if "not permitted" in done.stderr else "nft-failed"
        raise WorkloadError(f"{what}: {done.stderr.strip().partition(chr(10))[0]}", code)
