"""Options that every command of the API takes, after the command or before it."""
from __future__ import annotations

import enum
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import click

DEFAULT_SOCKET = "/run/calicopy/calicopy.sock"
DEFAULT_TIMEOUT_S = 15.0
SOCKET_VARIABLE = "CALICOPY_SOCKET"
P = ParamSpec("P")
R = TypeVar("R")


class Output(enum.Enum):
    """How to print."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def structured(self) -> bool:
        """Whether programs read it."""
        return self in (Output.JSON, Output.YAML)


@dataclass(frozen=True, slots=True)
class Server:
    """The API over TCP: HOST:PORT, and the files of the client's certificate, key, and the server's CA."""

    address: str
    certificate: str
    key: str
    ca: str


@dataclass(frozen=True, slots=True)
class Target:
    """Which agent, how long to wait for an answer, and how to print it."""

    socket: str
    server: Server | None
    timeout_s: float
    output: Output

    @property
    def place(self) -> str:
        """Where the agent is, for messages."""
        return self.server.address if self.server is not None else self.socket


class Duration(click.ParamType[int]):
    """`30s`, `2m` or `1h`, as the cluster file writes it, to seconds: 24 hours at most."""

    name = "duration"
    _UNITS = {"s": 1, "m": 60, "h": 3600}  # noqa: RUF012 - never changed
    _MOST_S = 24 * 3600

    def __init__(self, least_s: int = 0) -> None:
        self._least_s = least_s

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds as they are; text by its unit."""
        if isinstance(value, int):
            return value
        text = str(value)
        if not (text[:-1].isdecimal() and text.isascii() and text[-1] in self._UNITS):
            self.fail(f"{text!r} is no duration with its unit, such as 30s, 2m or 1h", param, ctx)
        seconds = int(text[:-1][:9]) * self._UNITS[text[-1]]
        if not self._least_s <= seconds <= self._MOST_S:
            self.fail(f"{text!r} is not from {self._least_s}s to 24h", param, ctx)
        return seconds


_FILE = click.Path(exists=True, dir_okay=False)
_CONNECTION = (
    click.option("--socket", metavar="PATH", help=f"The agent's socket.  [default: ${SOCKET_VARIABLE}, "
                 f"else {DEFAULT_SOCKET}]"),
    click.option("--server", metavar="HOST:PORT", help="The agent over TCP, with mutual TLS (--cert, --key, --ca)."),
    click.option("--cert", type=_FILE, metavar="FILE", help="The client's certificate, with --server."),
    click.option("--key", type=_FILE, metavar="FILE", help="The certificate's private key, with --server."),
    click.option("--ca", type=_FILE, metavar="FILE", help="The CA of the agent's certificate, with --server."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
                 help=f"How long to wait for an answer.  [default: {DEFAULT_TIMEOUT_S:.0f}]"),
)
_OUTPUT = click.option("-o", "--output", type=click.Choice([each.value for each in Output]),
                       help="How to print.  [default: table]")
_NAMES = ("output", "socket", "server", "cert", "key", "ca", "timeout")


def root_options(function: Callable[[], None]) -> Callable[[], None]:
    """The options on the root command: the commands below take them from there when they are not given again."""
    return _decorate(_swallow(function))


def _swallow(function: Callable[[], None]) -> Callable[..., None]:
    @functools.wraps(function)
    def call(**_: object) -> None:
        function()

    return call


def with_target(function: Callable[Concatenate[Target, P], R]) -> Callable[..., R]:
    """A command that talks to an agent: its first parameter is the Target made of the options."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        own = {name: kwargs.pop(name, None) for name in _NAMES}
        return function(_target(own), *args, **kwargs)

    return _decorate(call)


def with_output(function: Callable[Concatenate[Output, P], R]) -> Callable[..., R]:
    """A command that only prints: its first parameter is the Output."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        own = {"output": kwargs.pop("output", None)}
        return function(Output(_merged(own)["output"] or Output.TABLE), *args, **kwargs)

    made: Callable[..., R] = _OUTPUT(call)
    return made


def _decorate(function: Callable[..., R]) -> Callable[..., R]:
    for option in reversed((_OUTPUT, *_CONNECTION)):
        function = option(function)
    return function


def _merged(own: dict[str, object]) -> dict[str, object]:
    """Own values first, then those given before the command's name."""
    above = click.get_current_context().find_root().params
    return {name: above.get(name) if value is None else value for name, value in own.items()}


def _target(own: dict[str, object]) -> Target:
    given = _merged(own)
    server = None
    missing = [f"--{name}" for name in ("cert", "key", "ca") if not given[name]]
    if given["server"]:
        if missing:
            raise click.UsageError(f"--server needs {', '.join(missing)}: the API over TCP has mutual TLS only")
        server = Server(str(given["server"]), str(given["cert"]), str(given["key"]), str(given["ca"]))
    elif len(missing) < 3:
        raise click.UsageError("--cert, --key and --ca go with --server")
    timeout = given["timeout"]
    return Target(
        socket=str(given["socket"] or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET),
        server=server,
        timeout_s=timeout if isinstance(timeout, float) else DEFAULT_TIMEOUT_S,
        output=Output(given["output"] or Output.TABLE),
    )
