"""The rendered configuration: goldens, each also read by ExaBGP, and what is refused."""
from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

import pytest

from calicopy.net import Family
from calicopy.seam.speaker import SessionSpec, SpecError
from calicopy.speaker.control import session_keys, validate
from calicopy.speaker.launcher import cold_peers
from calicopy.speaker.render import config_digest, default_bridge_command, render

GOLDEN = Path(__file__).parents[2] / "golden" / "speaker"
PLAIN = SessionSpec(
    name="node2", peer_address="10.9.0.2", local_address="10.9.0.1", local_as=64512, peer_as=64512, router_id="10.9.0.1"
)
CASES: dict[str, tuple[SessionSpec, ...]] = {
    "none": (),
    "one": (PLAIN,),
    "passive-and-external": (
        dataclasses.replace(PLAIN, name="node10", peer_address="10.9.0.10", passive=True, hold_time_s=9),
        dataclasses.replace(PLAIN, name="tor", peer_address="10.9.0.3", peer_as=4200000001, graceful_restart_time_s=0),
    ),
    "gtsm-and-key": (
        dataclasses.replace(
            PLAIN, outgoing_ttl=255, incoming_ttl=255, md5_password_file="key", description='a "tor"; b'
        ),
    ),
    "ipv6-and-add-path": (
        dataclasses.replace(
            PLAIN, peer_address="FD00:0::2", local_address="fd00::1", families=(Family.IPV6, Family.IPV4),
            add_path_receive=(Family.IPV6,), listen_port=None, peer_port=1179, extended_message=False,
        ),
    ),
    "timers-ports-and-addresses": (
        dataclasses.replace(PLAIN, keepalive_s=10, hold_time_s=180, outgoing_ttl=4, peer_as=65001, listen_port=1179),
        dataclasses.replace(
            PLAIN, name="v6", peer_address="fd00::2", local_address="fd00::1", families=(Family.IPV4,), keepalive_s=1,
            description="keepalive=7", add_path_send=(Family.IPV4,),
        ),
        dataclasses.replace(
            PLAIN, name="two", peer_address="10.9.1.2", local_address="10.9.1.1", families=(Family.IPV4, Family.IPV6),
            add_path_send=(Family.IPV4, Family.IPV6), add_path_receive=(Family.IPV4, Family.IPV6), local_as=64700,
        ),
    ),
    "after-a-boot": (dataclasses.replace(PLAIN, restarted_without_state=True),),
}


def text_of(specs: tuple[SessionSpec, ...]) -> str:
    rendered = render(specs, socket_path="/run/calicopy/speaker.sock", bridge_command=("/usr/bin/env", "bridge"))
    if rendered.problems:
        raise rendered.problems[0]
    return rendered.text


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_bytes(b'se;c"ret \xe9\n')


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_as_recorded(name: str) -> None:
    """Record anew with CALICOPY_RECORD=1 and read the difference."""
    golden = GOLDEN / f"{name}.conf"
    text = text_of(CASES[name])
    if os.environ.get("CALICOPY_RECORD"):
        golden.write_text(text)
    assert text == golden.read_text()


async def test_exabgp_accepts_each_recorded_text() -> None:
    goldens = sorted(GOLDEN.glob("*.conf"))
    assert {golden.stem for golden in goldens} == set(CASES)
    for golden in goldens:
        error = await validate(golden)
        assert not error, f"{golden.name}: {error}"


async def test_exabgp_says_what_is_wrong_with_a_bad_text(tmp_path: Path) -> None:
    bad = tmp_path / "bad.conf"
    bad.write_text(text_of((PLAIN,)).replace("hold-time 90", "hold-time never"))
    assert "hold-time" in await asyncio.wait_for(validate(bad), 20)


def test_the_order_of_the_sessions_given_does_not_matter() -> None:
    pair = CASES["passive-and-external"]
    assert text_of(pair) == text_of(pair[::-1])
    assert text_of(pair).index("neighbor 10.9.0.3") < text_of(pair).index("neighbor 10.9.0.10")


def test_a_cold_start_changes_no_session() -> None:
    warm, cold = text_of((PLAIN,)), text_of(CASES["after-a-boot"])
    assert cold_peers(cold) == {"10.9.0.2"}
    assert cold_peers(warm) == frozenset()
    assert config_digest(warm) == config_digest(cold) != ""


def test_the_bridge_is_started_as_a_plain_file() -> None:
    assert default_bridge_command("/x.sock")[1:3] == ("-I", "-S")
    assert Path(default_bridge_command("/x.sock")[3]).is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peer_address": "ten"}, "ten"),
        ({"local_address": "fd00::1"}, "one family"),
        ({"peer_address": "fe80::1%a; }", "local_address": "fd00::1"}, "scope"),
        ({"local_address": "10.9.0.2"}, "two addresses"),
        ({"router_id": "1"}, "router_id"),
        ({"peer_as": 0}, "AS number"),
        ({"hold_time_s": 70000}, "hold_time_s"),
        ({"keepalive_s": 0}, "keepalive_s"),
        ({"graceful_restart_time_s": 4096}, "0 to 4095"),
        ({"families": ()}, "families"),
        ({"passive": True, "listen_port": None}, "listen_port"),
        ({"incoming_ttl": 256}, "incoming_ttl"),
        ({"md5_password_file": "missing"}, "missing"),
        ({"add_path_send": (Family.IPV4,), "add_path_receive": (Family.IPV6,)}, "ADD-PATH"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_exabgp_cannot_carry_is_refused_with_the_fields_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        text_of((dataclasses.replace(PLAIN, **changes),))  # type: ignore[arg-type]  # wrong values are the point


def test_a_session_that_cannot_be_said_keeps_its_block_and_stops_no_other(tmp_path: Path) -> None:
    keyed = dataclasses.replace(PLAIN, name="keyed", peer_address="10.9.0.3", md5_password_file="key")
    command = ("/usr/bin/env", "bridge")
    good = render((PLAIN, keyed), socket_path="/x.sock", bridge_command=command)
    (tmp_path / "key").unlink()
    first = render((PLAIN, keyed), socket_path="/x.sock", bridge_command=command)
    assert [str(one) for one in first.problems] == [
        "session keyed: cannot read the MD5 key file key: No such file or directory"
    ]
    assert session_keys(first.text) == {("10.9.0.2", "10.9.0.1", 64512, 64512)}
    later = render((PLAIN, keyed), socket_path="/x.sock", bridge_command=command, present=good.text)
    assert later.text == good.text
    assert later.problems


def test_the_sessions_of_a_text_are_those_that_it_was_made_of() -> None:
    specs = CASES["passive-and-external"]
    assert session_keys(text_of(specs)) == {(s.peer_address, s.local_address, s.local_as, s.peer_as) for s in specs}


def test_two_sessions_with_one_peer_address_are_refused() -> None:
    with pytest.raises(SpecError, match="more than one"):
        text_of((PLAIN, dataclasses.replace(PLAIN, name="again")))


def test_a_key_is_never_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"x" * 81)
    with pytest.raises(SpecError, match="expected 1 to 80 octets") as refused:
        text_of(CASES["gtsm-and-key"])
    assert "xxxx" not in str(refused.value)
