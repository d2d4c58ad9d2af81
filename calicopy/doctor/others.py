"""Who else has a hand in routes and packets: systemd-networkd, NetworkManager, other daemons, firewalls."""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from calicopy.doctor.host import run
from calicopy.doctor.result import Finding, Setting, fail, ok, warn

NETWORKD_PLACES = ("/usr/lib", "/usr/local/lib", "/run", "/etc")  # a later one goes before
DAEMONS = ("bird", "zebra", "bgp", "ospf", "isis", "babel", "eigrp", "rip", "gated", "mrt", "xorp")
NM_PLACES = ("/usr/lib/NetworkManager", "/run/NetworkManager", "/etc/NetworkManager")
OUR_DEVICES = ("cali*", "tunl0")
_FALSE = ("no", "false", "0", "off", "n", "f")


def networkd(_: Setting) -> Iterator[Finding]:
    """systemd-networkd takes away routes and nexthop objects that it does not know, unless it is told not to."""
    if run("pidof", "systemd-networkd") is None:
        yield ok("systemd-networkd", "does not run")
        return
    settings = networkd_settings(path.read_text(errors="replace") for path in networkd_files(NETWORKD_PLACES))
    for key in ("ManageForeignRoutes", "ManageForeignNextHops"):
        if settings.get(key.lower(), "yes").lower() in _FALSE:
            yield ok(f"networkd {key}", "no")
        else:
            yield fail(f"networkd {key}", "yes: it deletes our routes when it starts again or a link changes",
                       f"restart it with `[Network]` and `{key}=no` in /etc/systemd/networkd.conf.d/calicopy.conf")


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


def network_manager(_: Setting) -> Iterator[Finding]:
    """NetworkManager must leave our devices alone."""
    if run("pidof", "NetworkManager") is None:
        yield ok("NetworkManager", "does not run")
        return
    files = [path for place in NM_PLACES for path in (Path(place), Path(place) / "conf.d") if path.is_dir()]
    text = "\n".join(path.read_text(errors="replace") for folder in files for path in folder.glob("*.conf"))
    missing = [name for name in OUR_DEVICES if not is_unmanaged(text, name)]
    if missing:
        yield warn("NetworkManager", f"manages {', '.join(missing)}", "reload it with `[keyfile]` and `unmanaged-"
                   "devices=interface-name:cali*;interface-name:tunl0` in /etc/NetworkManager/conf.d/calicopy.conf")
    else:
        yield ok("NetworkManager", "leaves our devices alone")


def is_unmanaged(text: str, name: str) -> bool:
    """Whether a line `unmanaged-devices` has devices of this name or pattern."""
    lists = re.findall(r"^\s*unmanaged-devices\s*\+?=(.*)$", text, re.MULTILINE)
    return any(f"interface-name:{name}" in re.split(r"[;,\s]+", one) for one in lists)


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
    rules = run("nft", "list", "ruleset")
    dropping = dropping_chains(rules or "")
    for version, tables in (("iptables-legacy", "ip_tables_names"), ("ip6tables-legacy", "ip6_tables_names")):
        if not _used(tables):
            continue  # asking it would load the modules of the old firewall
        if "-P FORWARD DROP" in (run(version, "-S", "FORWARD") or ""):
            dropping.append(f"{version} FORWARD")
    if dropping:
        yield warn("firewall", f"forwarding is dropped by default: {', '.join(dropping)}",
                   "let it take packets from and to the pools (`ip saddr POOL accept`, `ip daddr POOL accept`)")
    elif rules is None:
        yield fail("firewall", "`nft list ruleset` does not work", "install nftables, and run this as root: NAT and "
                   "protection of tunnels need it")
    else:
        yield ok("firewall", "no chain drops what is forwarded by default")


def _used(tables: str) -> bool:
    try:
        return "filter" in Path(f"/proc/self/net/{tables}").read_text().split()
    except OSError:
        return False


def dropping_chains(rules: str) -> list[str]:
    """The chains of the hook `forward` with the policy drop, from `nft list ruleset`: family, table, chain."""
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
