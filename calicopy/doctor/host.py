"""The kernel and its settings: version, modules, sysctls, `lo`, the clock, /run/netns, the node's address."""
from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from calicopy.doctor.result import Finding, Setting, fail, ok, skipped, warn
from calicopy.net import Encapsulation

PROC_SYS = Path("/proc/sys")
NEXT_HOP_KERNEL = (5, 3)
_SET_BY_AGENT = "nothing, if the agent may write it: it does so; else set it with `sysctl -w {}={}` on the host"
_COMMAND_S = 2.0
TIMED_OUT = f"took longer than {_COMMAND_S:.0f} s"
_STA_UNSYNC, _TIME_ERROR = 0x40, 5  # linux/timex.h
_MODULES = {Encapsulation.IPIP: "ipip", Encapsulation.VXLAN: "vxlan", Encapsulation.UDP: "tun"}


def run(*command: str) -> str | None:
    """The output of a command; None when it is missing, fails, or takes too long."""
    return attempt(*command)[0]


def attempt(*command: str) -> tuple[str | None, str]:
    """The same, and why there is none, to be put behind the command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        return None, TIMED_OUT
    except OSError as error:
        return None, f"cannot be run ({error.strerror})"
    return (done.stdout, "") if done.returncode == 0 else (None, f"ended with {done.returncode}")


def sysctl(name: str) -> str | None:
    """The value of `net/ipv4/...`; None when there is none, or it cannot be read."""
    try:
        return (PROC_SYS / name).read_text().strip()
    except OSError:
        return None


def kernel(_: Setting) -> Iterator[Finding]:
    """Its version: nexthop objects are there from Linux 5.3 on."""
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and (int(numbers[1]), int(numbers[2])) >= NEXT_HOP_KERNEL and run("ip", "nexthop", "show") is not None:
        yield ok("kernel", f"Linux {release}, with nexthop objects")
    else:
        yield warn("kernel", f"Linux {release}, no nexthop objects", "take Linux 5.3 or newer, and an iproute2 as new: "
                   "else a node that is gone costs a message for each route")


def modules(setting: Setting) -> Iterator[Finding]:
    """Those of the encapsulations that the cluster file has."""
    if setting.node is None:
        yield skipped("modules", "no cluster file: which encapsulations are wanted is not known")
        return
    for encapsulation in sorted(setting.node.cluster.decapsulated, key=lambda one: one.value):
        module = _MODULES.get(encapsulation)
        if module is None:
            continue
        used = encapsulation in setting.node.cluster.used_encapsulations
        if has_module(module):
            yield ok(f"module {module}", "there")
        else:
            say = fail if used else warn
            yield say(f"module {module}", f"not there, for encapsulation {encapsulation.value}",
                      f"run `modprobe {module}` on the host, and list it in /etc/modules-load.d/calicopy.conf")


def has_module(name: str) -> bool:
    """Whether it is loaded, built in, or can be loaded."""
    if Path(f"/sys/module/{name}").exists() or (name == "tun" and Path("/dev/net/tun").exists()):
        return True
    try:
        if f"/{name}.ko" in Path(f"/lib/modules/{platform.release()}/modules.builtin").read_text():
            return True
    except OSError:
        pass
    return run("modprobe", "--dry-run", name) is not None


def sysctls(setting: Setting) -> Iterator[Finding]:
    """Forwarding, reverse-path filters, what nexthop objects cost, fallback tunnels; whether they may be written."""
    writable = os.access(PROC_SYS / "net/ipv4/ip_forward", os.W_OK) and not _read_only(PROC_SYS)
    if writable:
        yield ok("/proc/sys", "writable")
    else:
        yield warn("/proc/sys", "read-only", "set the sysctls below from outside (containers: `sysctls`); the agent "
                   "sets those of devices over netlink")
    yield _sysctl("net.ipv4.ip_forward", "1", "packets of pods are not forwarded")
    yield _sysctl("net.ipv4.nexthop_compat_mode", "0", "changes of nexthop objects are announced for each route")
    for name in dict.fromkeys(("all", *_underlay(setting))):
        filters = f"net.ipv4.conf.{name}.rp_filter"
        if sysctl(filters.replace(".", "/")) == "1":
            fix = f"run `sysctl -w {filters}=2`" + ("" if name == "all" else ", which the agent does where it may")
            yield warn(filters, "1 (strict)", f"{fix}: packets that take another way back are dropped")
        else:
            yield ok(filters, sysctl(filters.replace(".", "/")) or "not there")
    for name in ("net.ipv4.icmp_echo_ignore_all", "net.ipv6.icmp.echo_ignore_all"):
        if sysctl(name.replace(".", "/")) == "1":
            yield warn(name, "1: no ping is answered", f"set it with `sysctl -w {name}=0`: the other nodes probe this "
                       "one's tunnel addresses by echo requests, and take it for one that does not answer")
        else:
            yield ok(name, sysctl(name.replace(".", "/")) or "not there")
    fallback = sysctl("net/core/fb_tunnels_only_for_init_net")
    if fallback == "2":
        yield warn("net.core.fb_tunnels_only_for_init_net", "2: no tunl0 of the kernel's own",
                   "set it to 0 or 1 where the ipip tunnel cannot be made")
    else:
        yield ok("net.core.fb_tunnels_only_for_init_net", fallback or "not there")
    if sysctl("net/bridge/bridge-nf-call-iptables") == "1":
        yield warn("br_netfilter", "bridged packets go through the firewall", "let the firewall's FORWARD chain take "
                   "packets of pods, or set net.bridge.bridge-nf-call-iptables=0")
    else:
        yield ok("br_netfilter", "bridged packets do not go through the firewall")


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _sysctl(name: str, wanted: str, consequence: str) -> Finding:
    value = sysctl(name.replace(".", "/"))
    if value == wanted:
        return ok(name, value)
    if value is None:
        return skipped(name, "not there")
    return warn(name, f"{value}, wanted {wanted}: {consequence}", _SET_BY_AGENT.format(name, wanted))


def links() -> list[dict[str, object]]:
    """What `ip -j address show` says."""
    found = json.loads(run("ip", "-j", "address", "show") or "[]")
    return [one for one in found if isinstance(one, dict)]


def addresses_of(link: dict[str, object]) -> list[str]:
    """Its addresses."""
    infos = link.get("addr_info")
    return [str(info.get("local")) for info in infos if isinstance(info, dict)] if isinstance(infos, list) else []


def _underlay(setting: Setting) -> list[str]:
    own = set(map(str, setting.node.addresses)) if setting.node is not None else set()
    return [str(link["ifname"]) for link in links() if own & set(addresses_of(link))]


def loopback(_: Setting) -> Iterator[Finding]:
    """A blackhole of a nexthop object leads to `lo`."""
    for link in links():
        flags = link.get("flags")
        if link.get("ifname") == "lo" and isinstance(flags, list):
            if "UP" in flags:
                yield ok("lo", "up")
            else:
                yield fail("lo", "down", "run `ip link set lo up`: without it no next hop can be taken out of use")


def own_address(setting: Setting) -> Iterator[Finding]:
    """The node's addresses are this host's."""
    if setting.node is None:
        yield skipped("address", "no cluster file: the node's address is not known")
        return
    if not setting.node.addresses:
        yield skipped("address", "the agent detects it: the cluster file has none for this node")
    here = {address for link in links() for address in addresses_of(link)}
    for address in map(str, setting.node.addresses):
        if address in here:
            yield ok(f"address {address}", "there")
        else:
            yield fail(f"address {address}", "no interface of this host has it",
                       "give it to one, or mend the cluster file: until then no session is dialled")


class _Timex(ctypes.Structure):
    _fields_ = (("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
                ("rest", ctypes.c_char * 256))  # fmt: skip


def clock(_: Setting) -> Iterator[Finding]:
    """Whether somebody keeps it: adjtimex(2)."""
    state = _Timex()
    answer = ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    if answer == _TIME_ERROR or answer < 0 or state.status & _STA_UNSYNC:
        yield warn("clock", "not synchronised", "run an NTP client (chrony, systemd-timesyncd): times in logs and the "
                   "validity of certificates need the clock; timers of BGP and BFD do not")
    else:
        yield ok("clock", "synchronised")


def namespaces(_: Setting) -> Iterator[Finding]:
    """Workloads are attached by the names of network namespaces."""
    place = Path("/run/netns")
    if not place.exists():
        yield ok("/run/netns", "not there yet: `ip netns add` makes it")
    elif os.access(place, os.R_OK | os.X_OK):
        yield ok("/run/netns", f"{len(list(place.iterdir()))} network namespaces")
    else:
        yield fail("/run/netns", "may not be read", "run this and the agent as root")

