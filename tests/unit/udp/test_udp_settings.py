"""The forwarder's two files."""
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from calicopy.agent.udp_edge import settings_of
from calicopy.core.commands import SetTunnel
from calicopy.net import Encapsulation
from calicopy.net.tunnel import TunnelEnd
from calicopy.udp.settings import Settings, Status, parse_settings, parse_status
from calicopy.unit import write_whole

SETTINGS = Settings(
    "caliudp0", 8285, addresses=("192.0.2.1",), nodes={"192.0.2.2": "192.0.2.2", "fe80::ca:2": "192.0.2.2"}
)


def test_settings_come_back_as_they_were_written() -> None:
    assert parse_settings(SETTINGS.as_text()) == SETTINGS


@pytest.mark.parametrize(
    "text",
    ["", "{}", "device a\nport x\naddress 192.0.2.1\n", "device a\naddress 192.0.2.1\n", "device a\nport 1\n",
     "node a\n", SETTINGS.as_text() + "more\n"],
)  # fmt: skip
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_settings(text)


def test_a_status_comes_back_as_it_was_written() -> None:
    said = Status(pid=7, said=12.5, error="there is  no\nsuch thing", counters={"in_packets": 3})
    read = parse_status(said.as_text())
    assert (read.pid, read.said, read.error, read.counters) == (7, 12.5, "there is  no such thing", {"in_packets": 3})


def test_other_nodes_need_nothing_opened_anew_and_another_port_does() -> None:
    more = Settings("caliudp0", 8285, addresses=("192.0.2.1",), nodes={"192.0.2.3": "192.0.2.3"})
    assert SETTINGS.same_place(more)
    assert more != SETTINGS
    assert not SETTINGS.same_place(Settings("caliudp0", 8286, addresses=("192.0.2.1",), nodes={}))


def test_the_nodes_are_named_by_the_gateways_of_their_routes() -> None:
    end = TunnelEnd(IPv4Address("192.0.2.2"), IPv4Address("192.0.2.2"), IPv6Address("fe80::ca:2"))
    only = TunnelEnd(IPv4Address("192.0.2.3"), None, IPv6Address("fe80::ca:3"))
    command = SetTunnel(Encapsulation.UDP, "caliudp0", 1472, (), IPv4Address("192.0.2.1"), (end, only), 8285)
    assert settings_of(command).nodes == {**SETTINGS.nodes, "fe80::ca:3": "192.0.2.3"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before, and longer")
    write_whole(str(path), "after")
    assert path.read_text() == "after"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
