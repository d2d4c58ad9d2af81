"""What the checks read: networkd.conf, NetworkManager.conf, nft, /proc."""
from __future__ import annotations

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from calicopy.doctor import Setting, Verdict, examine
from calicopy.doctor.mtu import Way, checksum, echo, judge
from calicopy.doctor.others import dropping_chains, is_unmanaged, networkd_files, networkd_settings
from calicopy.doctor.ports import listening
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


def test_devices_that_networkmanager_leaves_alone_are_found_in_any_list():
    text = "[keyfile]\nunmanaged-devices=mac:aa:bb;interface-name:cali*\nunmanaged-devices+=interface-name:tunl0\n"
    assert is_unmanaged(text, "cali*")
    assert is_unmanaged(text, "tunl0")
    assert not is_unmanaged("# unmanaged-devices=interface-name:cali*", "cali*")


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
