"""OPEN, NOTIFICATION, ROUTE-REFRESH and communities on real octets and text."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from calicopy.bgp import (
    Capabilities,
    Fqdn,
    GracefulRestart,
    LongLivedFamily,
    Notification,
    Open,
    OpenError,
    PathMode,
    RefreshError,
    RefreshKind,
    RouteRefresh,
    decode_notification,
    decode_open,
    decode_route_refresh,
    format_community,
    format_large_community,
    negotiate,
)
from calicopy.bgp.notification import encode_notification, shutdown_communication
from calicopy.net import Family

HEAD = "04" + "fc00" + "0009" + "0a000001"  # version 4, AS 64512, hold time 9 s, router id 10.0.0.1
BIRD = (  # as BIRD 2 sends it: each capability in one parameter
    "0104000100010200060041040000fc00" + "400a0078" + "0001018000020100" + "4600" + "4700"
)


def opened(capabilities: str = "", head: str = HEAD) -> Open:
    octets = bytes.fromhex(capabilities)
    parameter = bytes((2, len(octets))) + octets if octets else b""
    return decode_open(bytes.fromhex(head) + bytes((len(parameter),)) + parameter)


def test_an_open_of_bird_is_read_in_full() -> None:
    message = opened(BIRD)
    assert (message.asn, message.hold_time_s, message.router_id) == (64512, 9, IPv4Address("10.0.0.1"))
    assert message.capabilities == Capabilities(
        families=(Family.IPV4,),
        route_refresh=True,
        enhanced_refresh=True,
        extended_message=True,
        asn4=64512,
        graceful_restart=GracefulRestart(120, ((Family.IPV4, True), (Family.IPV6, False))),
    )


def test_every_other_capability_is_read() -> None:
    capabilities = opened(
        "0506000100010002"  # RFC 8950
        + "090103"  # role: customer
        + "4508" + "00010103" + "00020101"  # ADD-PATH
        + "470e" + "00010180000e10" + "00020100000001"
        + "4907" + "03" + "6e6f64" + "02" + "6c61"[:4]
        + "8201aa"
        + "010400010080"  # VPNv4
    ).capabilities  # fmt: skip
    assert capabilities.extended_next_hop
    assert capabilities.role == 3
    assert capabilities.add_path == ((Family.IPV4, PathMode.BOTH), (Family.IPV6, PathMode.RECEIVE))
    assert capabilities.long_lived == (
        LongLivedFamily(Family.IPV4, True, 3600),
        LongLivedFamily(Family.IPV6, False, 1),
    )
    assert capabilities.fqdn == Fqdn("nod", "la")
    assert capabilities.unknown == ((0x82, b"\xaa"),)
    assert capabilities.other_families == ((1, 128),)


def test_the_restart_flags_are_read() -> None:
    restart = opened("4002c078").capabilities.graceful_restart
    assert restart == GracefulRestart(120, (), restarting=True, notification=True)
    assert not restart.covers(Family.IPV4)


def test_the_true_as_number_comes_from_the_capability() -> None:
    message = opened("4104000f4240", head="04" + "5ba0" + "0009" + "0a000001")
    assert message.asn == 1000000


def test_extended_optional_parameters_are_read() -> None:
    parameter = bytes.fromhex("02" + "0006" + "4104000f4240")
    octets = bytes.fromhex(HEAD) + b"\xff\xff" + len(parameter).to_bytes(2, "big") + parameter
    assert decode_open(octets).asn == 1000000


def test_a_known_capability_of_a_wrong_length_is_kept_as_unknown() -> None:
    capabilities = opened("4103000001" + "010100").capabilities
    assert capabilities.asn4 is None
    assert capabilities.unknown == ((65, b"\0\0\1"), (1, b"\0"))


@pytest.mark.parametrize(
    ("octets", "subcode"),
    [
        (HEAD, 0),
        ("03" + HEAD[2:] + "00", 1),
        ("04" + "0000" + HEAD[6:] + "00", 2),
        (HEAD[:-8] + "00000000" + "00", 3),
        (HEAD[:6] + "0001" + HEAD[10:] + "00", 6),
        (HEAD + "03" + "010100", 4),
        (HEAD + "05" + "0204", 0),
        (HEAD + "04" + "02024104", 0),
        (HEAD + "03" + "020500", 0),
    ],
)
def test_an_open_that_cannot_be_read_says_why(octets: str, subcode: int) -> None:
    with pytest.raises(OpenError) as caught:
        decode_open(bytes.fromhex(octets))
    assert caught.value.subcode == subcode


def test_negotiation_takes_what_both_sides_have() -> None:
    ours = Open(
        64512,
        9,
        IPv4Address("10.0.0.1"),
        Capabilities(
            families=(Family.IPV4, Family.IPV6),
            route_refresh=True,
            enhanced_refresh=True,
            asn4=64512,
            add_path=((Family.IPV4, PathMode.BOTH), (Family.IPV6, PathMode.SEND)),
            graceful_restart=GracefulRestart(120, notification=True),
        ),
    )
    theirs = Open(
        64512,
        90,
        IPv4Address("10.0.0.2"),
        Capabilities(
            families=(Family.IPV4,),
            route_refresh=True,
            asn4=64512,
            add_path=((Family.IPV4, PathMode.SEND), (Family.IPV6, PathMode.RECEIVE)),
            graceful_restart=GracefulRestart(60, ((Family.IPV4, True),)),
        ),
    )
    agreed = negotiate(ours, theirs)
    assert agreed.families == {Family.IPV4}
    assert (agreed.hold_time_s, agreed.asn4, agreed.ibgp) == (9, True, True)
    assert (agreed.route_refresh, agreed.enhanced_refresh) == (True, False)
    assert agreed.add_path_receive == {Family.IPV4}
    assert agreed.add_path_send == frozenset(), "they do not receive IPv4 paths, and IPv6 is not theirs"
    assert agreed.graceful_restart == theirs.capabilities.graceful_restart
    assert not agreed.notification_restart
    assert agreed.receive.add_path == {Family.IPV4}
    assert agreed.send.add_path == frozenset()
    assert agreed.receive.ibgp


def test_a_peer_without_capabilities_has_ipv4_and_2_octet_as_numbers() -> None:
    old = Open(64513, 180, IPv4Address("10.0.0.2"))
    ours = Open(64512, 0, IPv4Address("10.0.0.1"), Capabilities(families=(Family.IPV4,), asn4=64512))
    agreed = negotiate(ours, old)
    assert (agreed.families, agreed.asn4, agreed.hold_time_s) == ({Family.IPV4}, False, 0)
    assert agreed.graceful_restart is None
    assert not agreed.ibgp


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        (b"\4\0", "hold timer expired"),
        (b"\6\2", "cease: administrative shutdown"),
        (b"\6\2" + shutdown_communication("back at 4"), 'cease: administrative shutdown, "back at 4"'),
        (b"\6\4" + shutdown_communication("été"), 'cease: administrative reset, "été"'),
        (b"\6\1\0\1\1\0\0\0\5", "cease: maximum number of prefixes reached (data 0x00010100000005)"),
        (b"\6\x09\6\2" + shutdown_communication("bye"), 'cease: hard reset (cease: administrative shutdown, "bye")'),
        (b"\6\x09", "cease: hard reset"),
        (b"\6\x09" * 200, "cease: hard reset (cease: hard reset)"),
        (b"\6\x0a", "cease: BFD down"),
        (b"\2\x0b", "OPEN message error: role mismatch"),
        (b"\3\x0b\1", "UPDATE message error: malformed AS_PATH (data 0x01)"),
        (b"\x63\x07", "error code 99: subcode 7"),
        (b"", "error code 0"),
    ],
)
def test_a_notification_becomes_a_sentence(octets: bytes, sentence: str) -> None:
    assert decode_notification(octets).sentence == sentence


def test_a_shutdown_communication_cannot_steer_a_terminal() -> None:
    notification = Notification(6, 2, shutdown_communication("a\x1b[2J\nb\u202e"))
    assert notification.communication == "a\\x1b[2J\\nb\\u202e"
    assert Notification(6, 2, b"\xff\xc3\x28").communication == "\ufffd("
    assert Notification(6, 2, b"\0").communication is None
    assert Notification(6, 3, b"\2hi").communication is None


def test_a_long_shutdown_communication_is_cut_between_characters() -> None:
    data = shutdown_communication("é" * 200)
    assert (data[0], len(data)) == (254, 255)
    assert encode_notification(Notification(6, 2, data))[:2] == b"\6\2"


def test_a_route_refresh_has_its_subtype() -> None:
    assert decode_route_refresh(bytes.fromhex("00010001")) == RouteRefresh(Family.IPV4, RefreshKind.REQUEST)
    assert decode_route_refresh(bytes.fromhex("00020101")) == RouteRefresh(Family.IPV6, RefreshKind.BEGIN)
    assert decode_route_refresh(bytes.fromhex("00010201")) == RouteRefresh(Family.IPV4, RefreshKind.END)
    assert decode_route_refresh(bytes.fromhex("00010980")) == RouteRefresh(None, None)
    with pytest.raises(RefreshError):
        decode_route_refresh(bytes(5))


def test_communities_are_written_as_operators_do() -> None:
    assert format_community(0xFC000064) == "64512:100"
    assert format_community(0xFFFF0000) == "graceful-shutdown"
    assert format_large_community((64512, 1, 0x0A000001)) == "64512:1:167772161"
