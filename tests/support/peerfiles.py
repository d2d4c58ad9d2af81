"""A cluster file with peers, and what a case adds to it that is refused, or only warned of."""
from __future__ import annotations

from typing import NamedTuple

from calicopy.config.load import LoadResult, load_text

HEAD = """\
nodes:
- {name: n1, address: 192.0.2.1/24, labels: {role: rr}, route_reflector: true}
- {name: n2, address: 192.0.2.2/24, labels: {role: rr}, route_reflector: true}
- {name: n3, address: 192.0.2.3/24}
- {name: n4, address: 192.0.2.4/24}
pools:
- cidr: 10.244.0.0/16
bgp:
  mesh: false
  peers:
  - {peer_selector: {role: rr}}
"""
"""Eleven good lines: what a case adds begins on line 12."""
P = "address: 192.0.2.9, as: 65000"
AT = "bgp.peers[1]"


class Case(NamedTuple):
    sentence: str
    peers: str
    """Further peers, each a flow mapping on a line of its own (from line 12)."""
    path: str
    words: str
    rest: str = ""
    """Other keys of bgp."""
    replace: tuple[str, str] = ("", "")


def load(case: Case) -> LoadResult:
    lines = "".join(f"  - {{{line}}}\n" for line in case.peers.splitlines())
    text = HEAD + lines + "".join(f"  {line}\n" for line in case.rest.splitlines())
    return load_text(text.replace(*case.replace) if case.replace[0] else text, filename="f")


def assert_refused(case: Case) -> None:
    """There is one error, at its place and with its words."""
    result = load(case)
    assert result.config is None
    assert [error.path for error in result.errors] == [case.path], [str(error) for error in result.errors]
    assert case.words in result.errors[0].message


def assert_warned_of(case: Case) -> None:
    """The file is good, and the warning is among those that it gets."""
    result = load(case)
    assert result.errors == (), [str(error) for error in result.errors]
    found = [warning for warning in result.warnings if warning.path == case.path]
    assert any(case.words in warning.message for warning in found), [str(warning) for warning in result.warnings]
