"""What the checks read: networkd.conf, NetworkManager.conf, nft, /proc."""
from __future__ import annotations

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from calicopy.config.load import load_bytes
from calicopy.config.resolve import NodeConfig, resolve
from calicopy.doctor import Setting, Verdict, examine, host, others
from calicopy.doctor.host import TIMED_OUT
from calicopy.doctor.mtu import Way, checksum, echo, judge
from calicopy.doctor.network_manager import IPIP, WORKLOADS, Device, devices, files, is_unmanaged, merged
from calicopy.doctor.others import dropping_chains, networkd_files, networkd_settings
from calicopy.doctor.ports import listening, ports
from calicopy.doctor.rights import capability_set

RULESET = """\
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established accept
	}
}
table ip nat {
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
	}
}
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:00B3 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
"""


def node_of(more: str) -> NodeConfig:
    nodes = "nodes: [{name: n1, address: 192.0.2.1/24}, {name: n2, address: 192.0.2.2/24}]"
    result = load_bytes(f"{nodes}\npools: [{{cidr: 10.244.0.0/16}}]\n{more}\n".encode(), filename="cluster.yaml")
    assert result.config is not None, result.errors
    return resolve(result.config, "n1")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_drop_in_of_networkd_goes_before_its_file_and_before_an_earlier_place(tmp_path):
    places = [str(tmp_path / "usr"), str(tmp_path / "etc")]
    write(tmp_path / "etc/systemd/networkd.conf", "[Network]\nManageForeignRoutes=yes\n#ManageForeignNextHops=no\n")
    write(tmp_path / "usr/systemd/networkd.conf.d/50-a.conf", "[Network]\nManageForeignRoutes=yes\n")
    write(tmp_path / "etc/systemd/networkd.conf.d/50-a.conf", "[Network]\nManageForeignRoutes = no\n[DHCPv4]\nX=1\n")
    files = networkd_files(places)
    assert [path.name for path in files] == ["networkd.conf", "50-a.conf"]
    assert networkd_settings(path.read_text() for path in files) == {"manageforeignroutes": "no"}


VXLAN = Device("vx7", "vx7", "vxlan")
UBUNTU = "[keyfile]\nunmanaged-devices=*,except:type:wifi,except:type:gsm,except:type:cdma\n"
CALI = "interface-name:cali*"


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ([f"[keyfile]\nunmanaged-devices=mac:aa:bb;{CALI}\n"], "cali*"),
        (
            [f"[keyfile]\nunmanaged-devices={CALI}\n", "[keyfile]\nunmanaged-devices+=interface-name:tunl0\n"],
            "cali* tunl0",
        ),
        ([f"[keyfile]\nunmanaged-devices={CALI}\n", "[keyfile]\nunmanaged-devices=interface-name:=tunl0\n"], "tunl0"),
        ([f"[keyfile]\nunmanaged-devices={CALI};tunl0\n", f"[keyfile]\nunmanaged-devices-={CALI}\n"], "tunl0"),
        ([UBUNTU], "cali* tunl0 vx7"),
        ([UBUNTU.replace("*,", "")], "cali* tunl0 vx7"),
        ([UBUNTU.replace("*,", "*,except:type:veth,")], "tunl0 vx7"),
        (["[keyfile]\nunmanaged-devices=type:vxlan,interface-name:tun?0,cali*\n"], "tunl0 vx7"),
        ([f"[device]\nmatch-device={CALI}\nmanaged=0\n"], "cali*"),
        (["[device]\nmanaged=0\n[device-a]\nmatch-device=type:veth\nmanaged=1\n"], "tunl0 vx7"),
        (["[device-a]\nmatch-device=*\nmanaged=0\n", "[device-b]\nmatch-device=*\nmanaged=true\n"], ""),
        ([f"[main]\nunmanaged-devices={CALI}\n[keyfile]\n#unmanaged-devices={CALI}\n"], ""),
    ],
)  # fmt: skip
def test_what_networkmanager_leaves_alone_is_what_all_its_files_come_to(texts, left):
    settings = merged(texts)
    found = [device.pattern for device in (WORKLOADS, IPIP, VXLAN) if is_unmanaged(settings, device)]
    assert found == left.split()


def test_a_file_of_networkmanager_hides_one_of_the_same_name_in_an_earlier_place(tmp_path):
    for name in ("usr/lib/NetworkManager/conf.d/10-a.conf", "usr/lib/NetworkManager/conf.d/20-b.conf",
                 "run/NetworkManager/conf.d/20-b.conf", "run/NetworkManager/conf.d/05-c.conf",
                 "etc/NetworkManager/conf.d/10-a.conf", "etc/NetworkManager/NetworkManager.conf",
                 "usr/lib/NetworkManager/NetworkManager.conf"):  # fmt: skip
        write(tmp_path / name, "")
    assert [str(path.relative_to(tmp_path)).replace("/NetworkManager/", ":") for path in files(tmp_path)] == [
        "run:conf.d/05-c.conf", "run:conf.d/20-b.conf", "etc:NetworkManager.conf", "etc:conf.d/10-a.conf",
    ]  # fmt: skip


def test_the_devices_of_the_cluster_file_are_looked_for_by_their_names():
    node = node_of("encapsulation: {decapsulate: [vxlan], vxlan: {device: vx7}}")
    assert devices(Setting(node)) == [WORKLOADS, IPIP, VXLAN]


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ("", {"port 179/tcp", "port 3784/udp", "port 4784/udp", "port 4789/udp"}),
        ("bgp: {listen_port: 1179, bfd: false}", {"port 1179/tcp", "port 4789/udp"}),
    ],
)
def test_the_ports_are_those_of_the_cluster_file(more, names):
    assert {finding.name for finding in ports(Setting(node_of(more)))} == names


@pytest.mark.parametrize(
    ("version", "verdict"), [("systemd 252 (252.38-1)\n+PAM", Verdict.WARN), ("systemd 256 (256.4)", Verdict.FAIL)]
)
def test_before_systemd_256_nobody_is_told_to_set_a_switch_that_is_not_there(version, verdict, monkeypatch):
    monkeypatch.setattr(others, "run", lambda *command: version if "--version" in command else "1")
    monkeypatch.setattr(others, "NETWORKD_PLACES", ())
    found = {finding.name: finding for finding in others.networkd(Setting(None))}
    assert found["networkd ManageForeignRoutes"].verdict is Verdict.FAIL
    assert found["networkd ManageForeignNextHops"].verdict is verdict


@pytest.mark.parametrize(
    ("nft", "legacy", "verdict", "says"),
    [
        ((None, TIMED_OUT), ("", ""), Verdict.SKIPPED, TIMED_OUT),
        ((None, "cannot be run"), ("", ""), Verdict.FAIL, "cannot be run"),
        (("", ""), (None, "cannot be run"), Verdict.SKIPPED, "`iptables-legacy -S FORWARD` cannot be run"),
        (("", ""), ("-P FORWARD DROP", ""), Verdict.WARN, "iptables-legacy FORWARD"),
        (("", ""), ("-P FORWARD ACCEPT", ""), Verdict.OK, "no chain"),
    ],
)
def test_a_firewall_that_could_not_be_looked_at_is_not_ok(nft, legacy, verdict, says, monkeypatch):
    monkeypatch.setattr(others, "attempt", lambda *command: nft if command[0] == "nft" else legacy)
    monkeypatch.setattr(others, "_used", lambda tables: tables == "ip_tables_names")
    [finding] = others.firewall(Setting(None))
    assert finding.verdict is verdict
    assert says in finding.found


def test_a_command_that_takes_too_long_is_told_from_one_that_is_not_there(monkeypatch):
    monkeypatch.setattr(host, "_COMMAND_S", 0.05)
    assert host.attempt("sleep", "5") == (None, TIMED_OUT)
    assert host.attempt("no-such-command-at-all") == (None, "cannot be run (No such file or directory)")


def test_only_a_forward_hook_with_the_policy_drop_is_named():
    assert dropping_chains(RULESET) == ["inet filter forward"]


def test_a_listener_is_told_from_a_connection_of_the_same_port():
    assert listening(TCP, 179, any_state=False) == {"4711"}
    assert listening(TCP, 180, any_state=False) == set()


def test_a_capability_set_is_read_as_a_number():
    assert capability_set("Name:\tx\nCapEff:\t0000000000001000\n", "CapEff") == 1 << 12


@pytest.mark.parametrize("octets", [8, 1471, 1472])
def test_an_echo_request_has_a_checksum_that_holds(octets):
    packet = echo(4, octets)
    assert len(packet) == octets
    assert checksum(packet) == 0
    assert struct.unpack_from("!H", packet, 6) == (octets,)


@pytest.mark.parametrize(
    ("answered", "error", "verdict"),
    [({1500, 1400}, "", Verdict.OK), ({1400}, "", Verdict.FAIL), (set(), "", Verdict.WARN),
     (set(), "Network is unreachable", Verdict.WARN)],
)  # fmt: skip
def test_the_largest_answer_judges_a_way(answered, error, verdict):
    assert judge(Way("n2", IPv4Address("192.0.2.2"), 1500, answered, error)).verdict is verdict


def test_without_a_cluster_file_what_needs_one_is_skipped_and_the_rest_is_checked():
    findings = examine(Setting(None))
    skipped = {finding.name for finding in findings if finding.verdict is Verdict.SKIPPED}
    assert {"modules", "address", "mtu"} <= skipped
    assert all(finding.advice for finding in findings if finding.verdict in (Verdict.WARN, Verdict.FAIL))
