"""BFD in the cluster file: what a session gets, what is refused, and what is only warned of."""
from __future__ import annotations

import pytest
from pydantic import ValidationError

from calicopy.config.load import LoadResult, load_text
from calicopy.config.nodeconfig import BfdConfig, SessionConfig
from calicopy.config.resolve import resolve
from calicopy.config.sections_bfd import BfdSection, interval_text
from calicopy.seam.bfd import BfdAuth, BfdAuthType, HopMode

HEAD = """\
nodes:
- {name: n1, address: 192.0.2.1/24}
- {name: n2, address: 192.0.2.2/24, labels: {role: rr}, route_reflector: true}
- {name: n3, address: 192.0.2.3/24}
pools: [{cidr: 10.244.0.0/16}]
bgp:
"""
"""Six good lines: what a case adds to `bgp` begins on line 7."""
TOR = "  peers:\n  - {{name: tor, address: 192.0.2.9, as: 65000{}}}\n"
BY_DEFAULT = BfdConfig(hop=HopMode.MULTI, interval_s=0.1, multiplier=3, min_ttl=1)


def load(bgp: str) -> LoadResult:
    return load_text(HEAD + bgp, filename="f")


def sessions(bgp: str) -> dict[str, SessionConfig]:
    result = load(bgp)
    assert result.errors == (), [str(error) for error in result.errors]
    return {session.name: session for session in resolve(result.require(), "n1").sessions}


def problems(bgp: str) -> tuple[list[str], list[str]]:
    result = load(bgp)
    return [str(error) for error in result.errors], [str(warning) for warning in result.warnings]


def test_sessions_between_nodes_have_bfd_by_default_and_peers_by_address_have_not() -> None:
    found = sessions("  mesh: true\n" + TOR.format(""))
    assert found["n2"].bfd == found["n3"].bfd == BY_DEFAULT
    assert found["tor"].bfd is None


@pytest.mark.parametrize("off", ["{enabled: false}", "false"])
def test_bfd_off_leaves_only_those_that_say_yes(off: str) -> None:
    found = sessions(f"  bfd: {off}\n" + TOR.format(", bfd: true"))
    assert found["n2"].bfd is None
    assert found["tor"].bfd == BfdConfig(hop=HopMode.AUTO, interval_s=0.1, multiplier=3, min_ttl=1)


def test_a_reflectors_entry_says_otherwise_for_its_sessions() -> None:
    found = sessions("  peers: [{peer_selector: {role: rr}, bfd: {interval: 1s, multiplier: 5}}]\n")
    assert found["n2"].bfd == BfdConfig(hop=HopMode.MULTI, interval_s=1.0, multiplier=5, min_ttl=1)
    assert found["n3"].bfd == BY_DEFAULT
    assert sessions("  peers: [{peer_selector: {role: rr}, bfd: false}]\n")["n2"].bfd is None


def test_a_peer_takes_from_bgp_what_it_does_not_say() -> None:
    found = sessions("  bfd: {interval: 50ms, multiplier: 4, min_ttl: 254}\n" + TOR.format(", bfd: {hop: multi}"))
    assert found["tor"].bfd == BfdConfig(hop=HopMode.MULTI, interval_s=0.05, multiplier=4, min_ttl=254)


def test_ttl_security_counts_for_bfd_as_well() -> None:
    found = sessions(TOR.format(", ttl_security: 2, bfd: true"))["tor"].bfd
    assert found is not None
    assert found.min_ttl == 254


def test_authentication_between_nodes_is_not_that_of_others() -> None:
    auth = "auth: {type: meticulous-sha1, key_id: 7, key_file: /k}"
    found = sessions(f"  bfd: {{{auth}}}\n" + TOR.format(", bfd: true"))
    assert found["n2"].bfd is not None
    assert found["n2"].bfd.auth == BfdAuth(type=BfdAuthType.METICULOUS_SHA1, key_id=7, key_file="/k")
    assert found["tor"].bfd is not None
    assert found["tor"].bfd.auth is None
    own = sessions(TOR.format(", bfd: {auth: {type: simple, key_file: /t}}"))["tor"].bfd
    assert own is not None
    assert own.auth == BfdAuth(type=BfdAuthType.SIMPLE, key_id=1, key_file="/t")


def test_bfd_in_words_for_the_plan() -> None:
    auth = BfdAuth(type=BfdAuthType.SIMPLE, key_id=1, key_file="/t")
    assert str(BY_DEFAULT) == "100ms x 3, multi hop"
    found = BfdConfig(hop=HopMode.AUTO, interval_s=2.0, multiplier=5, min_ttl=254, auth=auth)
    assert str(found) == "2s x 5, auto hop, TTL 254 at least, simple with key 1 of /t"
    assert [interval_text(seconds) for seconds in (0.01, 0.3, 1.5, 60.0)] == ["10ms", "300ms", "1500ms", "60s"]


@pytest.mark.parametrize(
    ("bfd", "path", "words"),
    [
        ("3", "bgp.bfd", "found the number 3, expected a mapping"),
        ("{interval: 5ms}", "bgp.bfd.interval", "found the text '5ms', expected an interval with its unit, 10ms"),
        ("{interval: 61s}", "bgp.bfd.interval", "10ms to 60s"),
        ("{interval: 100}", "bgp.bfd.interval", "found the number 100, expected an interval with its unit"),
        ("{interval: 1m}", "bgp.bfd.interval", "such as 100ms or 1s"),
        ("{multiplier: 1}", "bgp.bfd.multiplier", "found the number 1, expected 2 or more"),
        ("{multiplier: 256}", "bgp.bfd.multiplier", "expected 255 or less"),
        ("{min_ttl: 0}", "bgp.bfd.min_ttl", "expected 1 or more"),
        ("{min_ttl: 256}", "bgp.bfd.min_ttl", "expected 255 or less"),
        ("{enabled: 1}", "bgp.bfd.enabled", "expected true or false"),
        ("{hop: single}", "bgp.bfd.hop", "unknown key 'hop'"),
        ("{auth: {type: md5, key_file: /k}}", "bgp.bfd.auth.type", "expected one of simple, meticulous-sha1"),
        ("{auth: {type: simple, key_id: 256, key_file: /k}}", "bgp.bfd.auth.key_id", "expected 255 or less"),
        ("{auth: {type: simple, key_file: secret}}", "bgp.bfd.auth.key_file", "expected the absolute path of a file"),
        ("{auth: {type: simple}}", "bgp.bfd.auth.key_file", "the key is missing"),
        ("{auth: {type: simple, key: secret}}", "bgp.bfd.auth.key", "unknown key 'key'"),
    ],
)
def test_bad_settings_are_refused_with_their_place(bfd: str, path: str, words: str) -> None:
    errors, _ = problems(f"  bfd: {bfd}\n")
    assert errors
    assert errors[0].startswith("f:7:")
    assert any(f" {path}: " in error and words in error for error in errors)
    assert not any("secret" in error for error in errors)


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        (", bfd: maybe", "bgp.peers[0].bfd", "found the text 'maybe', expected a mapping"),
        (", bfd: {hop: both}", "bgp.peers[0].bfd.hop", "one of single, multi, auto"),
        (", bfd: {multiplier: 1}", "bgp.peers[0].bfd.multiplier", "expected 2 or more"),
    ],
)
def test_bad_settings_of_a_peer_are_refused_with_their_place(keys: str, path: str, words: str) -> None:
    (error,), _ = problems(TOR.format(keys))
    assert f" {path}: " in error
    assert words in error


@pytest.mark.parametrize("end", ["peer_selector: {role: rr}", "address: 192.0.2.2, as: 64512, nodes: [n1]"])
def test_between_nodes_the_hop_mode_cannot_be_chosen(end: str) -> None:
    (error,), _ = problems(f"  mesh: false\n  peers: [{{{end}, bfd: {{hop: single}}}}]\n")
    assert "bgp.peers[0].bfd.hop: expected none: nodes of this file always use multi" in error


def test_a_node_that_is_a_peer_by_address_has_bfd_as_nodes_have() -> None:
    found = sessions("  mesh: false\n  peers: [{address: 192.0.2.2, as: 64512, nodes: [n1]}]\n")
    assert [one.bfd for one in found.values()] == [BY_DEFAULT]


def test_what_brings_nothing_is_warned_of() -> None:
    _, warnings = problems("  bfd: {interval: 3s}\n")
    assert "bgp.bfd.interval: brings nothing: 3s x 3 is 9 s, and the hold time is 9 s" in "".join(warnings)
    _, warnings = problems(TOR.format(", hold_time_s: 3, bfd: {interval: 1s}"))
    assert "bgp.peers[0].bfd.interval: brings nothing" in "".join(warnings)
    _, warnings = problems(TOR.format(", bfd: {hop: single, min_ttl: 254}"))
    assert "bgp.peers[0].bfd.min_ttl: has no effect" in "".join(warnings)


def test_a_model_made_in_code_judges_as_the_file_does() -> None:
    assert BfdSection(interval=0.05).interval == 0.05
    with pytest.raises(ValidationError, match="10ms to 60s"):
        BfdSection(interval=0.001)
