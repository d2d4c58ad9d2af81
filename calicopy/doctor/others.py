"""Who else has a hand in routes and packets: systemd-networkd, other daemons, firewalls."""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from calicopy.doctor.host import TIMED_OUT, attempt, run
from calicopy.doctor.result import Finding, Setting, fail, ok, skipped, warn

NETWORKD_PLACES = ("/usr/lib", "/usr/local/lib", "/run", "/etc")  # a later one goes before
DAEMONS = ("bird", "zebra", "bgp", "ospf", "isis", "babel", "eigrp", "rip", "gated", "mrt", "xorp")
NEXT_HOPS_SINCE = 256  # the systemd that has ManageForeignNextHops
_FALSE = ("no", "false", "0", "off", "n", "f")


def networkd(_: Setting) -> Iterator[Finding]:
    """systemd-networkd takes away routes and nexthop objects that it does not know, unless it is told not to."""
    if run("pidof", "systemd-networkd") is None:
        yield ok("systemd-networkd", "does not run")
        return
    settings = networkd_settings(path.read_text(errors="replace") for path in networkd_files(NETWORKD_PLACES))
    version = systemd_version(run("networkctl", "--version") or run("systemctl", "--version") or "")
    for key in ("ManageForeignRoutes", "ManageForeignNextHops"):
        if key == "ManageForeignNextHops" and version is not None and version < NEXT_HOPS_SINCE:
            yield warn(f"networkd {key}", f"systemd {version} has no such switch: networkd may delete our nexthop "
                       "objects when it starts again or configures a device anew, and the agent puts them back",
                       f"take systemd {NEXT_HOPS_SINCE} or newer, and `{key}=no` there; until then restart networkd "
                       "and change its files only when a short gap may be")
        elif settings.get(key.lower(), "yes").lower() in _FALSE:
            yield ok(f"networkd {key}", "no")
        else:
            yield fail(f"networkd {key}", "yes: it deletes our routes when it starts again or a link changes",
                       f"restart it with `[Network]` and `{key}=no` in /etc/systemd/networkd.conf.d/calicopy.conf")


def systemd_version(text: str) -> int | None:
    """Of what `--version` of its programs says, such as `systemd 252 (252.38-1)`; None when that is something else."""
    found = re.match(r"systemd (\d+)", text)
    return int(found[1]) if found else None


def networkd_files(places: Iterable[str]) -> list[Path]:
    """networkd.conf and its drop-ins in the order in which they are read: a later one goes before."""
    folders = [Path(place) / "systemd" for place in places]
    main = [folder / "networkd.conf" for folder in folders if (folder / "networkd.conf").is_file()]
    by_name = {path.name: path for folder in folders for path in (folder / "networkd.conf.d").glob("*.conf")}
    return [*main[-1:], *(by_name[name] for name in sorted(by_name))]


def networkd_settings(texts: Iterable[str]) -> dict[str, str]:
    """The keys, in lower case, of the section [Network]; those of a later text go before."""
    found: dict[str, str] = {}
    for text in texts:
        section = ""
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line
            elif section == "[Network]" and "=" in line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                found[key.strip().lower()] = value.strip()
    return found


def other_routes(_: Setting) -> Iterator[Finding]:
    """Routing daemons that write to table main too."""
    counts: dict[str, int] = {}
    for version in ("-4", "-6"):
        for route in json.loads(run("ip", version, "-j", "route", "show", "table", "main") or "[]"):
            if route.get("protocol") in DAEMONS:
                counts[route["protocol"]] = counts.get(route["protocol"], 0) + 1
    if counts:
        listed = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
        yield warn("other daemons", f"routes in table main: {listed}", "keep the prefixes of the pools out of their "
                   "export to the kernel: of two routes with one prefix the lower metric wins")
    else:
        yield ok("other daemons", "none has routes in table main")


def firewall(_: Setting) -> Iterator[Finding]:
    """What forwards nothing by default drops the packets of pods."""
    chains, why = attempt("nft", "list", "chains")  # of the rules themselves there may be very many
    dropping, unseen = dropping_chains(chains or ""), []
    for version, tables in (("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")):
        if not _used(tables):
            continue  # asking it would load the modules of the old firewall
        policy, problem = attempt(version, "-S", "FORWARD")
        if policy is None:
            unseen.append(f"`{version} -S FORWARD` {problem}, and tables of it are in use")
        elif "-P FORWARD DROP" in policy:
            dropping.append(f"{version} FORWARD")
    if dropping:
        yield warn("firewall", f"forwarding is dropped by default: {', '.join(dropping)}",
                   "let it take packets from and to the pools (`ip saddr POOL accept`, `ip daddr POOL accept`)")
    elif chains is None and why == TIMED_OUT:
        yield skipped("firewall", f"could not look: `nft list chains` {why}")
    elif chains is None:
        yield fail("firewall", f"`nft list chains` {why}", "install nftables, and run this as root: NAT and "
                   "protection of tunnels need it")
    elif unseen:
        yield skipped("firewall", f"could not look: {'; '.join(unseen)}")
    else:
        yield ok("firewall", "no chain drops what is forwarded by default")


def _used(tables: str) -> bool:
    try:
        return "filter" in Path(f"/proc/self/net/{tables}").read_text().split()
    except OSError:
        return False


def dropping_chains(rules: str) -> list[str]:
    """The chains of the hook `forward` with the policy drop, from `nft list chains`: family, table, chain."""
    found, table, chain = [], "", ""
    for line in map(str.strip, rules.splitlines()):
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif "hook forward" in line and "policy drop" in line:
            found.append(f"{table} {chain}")
    return found
