"""NetworkManager must leave our devices alone: whether its configuration says so.

Theory of operation: its files are read as NetworkManager.conf(5) has it. Those of /usr/lib and /run come first, then
the main file, then those of /etc; one in a later place hides one of the same name. `key=` replaces what was, `key+=`
adds to a list and `key-=` takes away. A device is unmanaged by `[keyfile] unmanaged-devices`, or by `managed=0` of the
first section `[device...]` that fits it and has this key. What udev says of a device is not looked at.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from calicopy.doctor.host import run
from calicopy.doctor.result import Finding, Setting, ok, warn
from calicopy.net import Encapsulation
from calicopy.net.tunnel import IPIP_DEVICE

Settings = dict[str, dict[str, str]]
"""Keys by section. A section that goes before another one comes later."""
EARLY, LATE = ("usr/lib/NetworkManager", "run/NetworkManager"), "etc/NetworkManager"
_FALSE = ("0", "no", "false", "off")


@dataclass(frozen=True, slots=True)
class Device:
    """One of ours: how it is written in a list, a name that it may have, and what NetworkManager calls its type."""

    pattern: str
    name: str
    kind: str


WORKLOADS, IPIP = Device("cali*", "cali0a1b2c3d4e5", "veth"), Device(IPIP_DEVICE, IPIP_DEVICE, "iptunnel")


def network_manager(setting: Setting) -> Iterator[Finding]:
    """Whether it manages what is ours."""
    if run("pidof", "NetworkManager") is None:
        yield ok("NetworkManager", "does not run")
        return
    settings = merged(path.read_text(errors="replace") for path in files(Path("/")))
    ours = devices(setting)
    missing = [device.pattern for device in ours if not is_unmanaged(settings, device)]
    if missing:
        wanted = ";".join(f"interface-name:{pattern}" for pattern in missing)
        yield warn("NetworkManager", f"manages {', '.join(missing)}", f"reload it with `[keyfile]` and "
                   f"`unmanaged-devices+={wanted}` in /etc/NetworkManager/conf.d/calicopy.conf (`=` without `+` would "
                   "replace the list that the distribution has)")
    else:
        yield ok("NetworkManager", "leaves our devices alone")


def devices(setting: Setting) -> list[Device]:
    """Ours: those of the workloads, and the tunnels, which may have another name in the cluster file."""
    found = [WORKLOADS, IPIP]
    if setting.node is not None:
        cluster = setting.node.cluster
        for encapsulation, kind in ((Encapsulation.VXLAN, "vxlan"), (Encapsulation.UDP, "tun")):
            if encapsulation in cluster.decapsulated:
                name = cluster.encapsulation.device(encapsulation)
                found.append(Device(name, name, kind))
    return found


def files(root: Path) -> list[Path]:
    """Its files in the order in which they are read."""
    places = [*EARLY, LATE]
    conf = [{path.name: path for path in (root / place / "conf.d").glob("*.conf")} for place in places]
    shown = [[path for name, path in sorted(some.items()) if not any(name in later for later in conf[at + 1 :])]
             for at, some in enumerate(conf)]  # fmt: skip
    mains = [root / place / "NetworkManager.conf" for place in (LATE, EARLY[0])]
    main = [path for path in mains if path.is_file()][:1]
    return [*shown[0], *shown[1], *main, *shown[2]]


def merged(texts: Iterable[str]) -> Settings:
    """All of it. In one file the first of several sections goes before, of several files the last one."""
    whole: Settings = {}
    for text in texts:
        for section, keys in reversed(_parsed(text).items()):
            into = whole.setdefault(section, {})
            for key, value in keys.items():
                base = key[:-1]
                if key.endswith("+"):
                    into[base] = ";".join([*split(into.get(base, "")), *split(value)])
                elif key.endswith("-"):
                    into[base] = ";".join(one for one in split(into.get(base, "")) if one not in split(value))
                else:
                    into[key] = value
    return whole


def _parsed(text: str) -> Settings:
    found: Settings = {}
    keys: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            keys = found.setdefault(line[1:-1], {})
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys[key.strip()] = value.strip()
    return found


def split(value: str) -> list[str]:
    """A list of devices as its entries."""
    return [one for one in map(str.strip, re.split("[;,]", value)) if one]


def is_unmanaged(settings: Settings, device: Device) -> bool:
    """Whether it is left alone."""
    if fits(split(settings.get("keyfile", {}).get("unmanaged-devices", "")), device):
        return True
    names = [name for name in reversed(settings) if name.startswith("device") and "managed" in settings[name]]
    for name in sorted(names, key=lambda name: name == "device"):  # [device] is the last that is asked
        keys = settings[name]
        if "match-device" not in keys or fits(split(keys["match-device"]), device):
            return keys["managed"].lower() in _FALSE
    return False


def fits(entries: Sequence[str], device: Device) -> bool:
    """Whether a list has the device. An `except:` that fits goes before all else; a list of nothing but these has what
    they leave."""
    excepted = [one.removeprefix("except:") for one in entries if one.startswith("except:")]
    if any(_fits(one, device) for one in excepted):
        return False
    wanted = [one for one in entries if not one.startswith("except:")]
    return any(one == device.name or _fits(one, device) for one in wanted) or bool(excepted and not wanted)


def _fits(entry: str, device: Device) -> bool:
    if entry == "*":
        return True
    tag, _, value = entry.partition(":")
    if tag == "type":
        return value == device.kind
    if tag != "interface-name":
        return False
    if value.startswith("="):
        return value[1:] == device.name
    return fnmatchcase(device.name, value.removeprefix("~").replace("[", "[[]"))  # only * and ? are special
