"""Exit codes, and the exception that ends a command with one of them."""
from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import IO

import click


class ExitCode(enum.IntEnum):
    """What a script can rely on."""

    OK = 0
    ERROR = 1  # it went wrong, or what was asked for does not exist
    USAGE = 2
    UNREACHABLE = 3  # no agent answers
    REFUSED = 4  # the input is refused
    UNHEALTHY = 5  # `status --check`


class CliError(click.ClickException):
    """Ends the command: one clear line on stderr, details below it, no traceback."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.ERROR, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance
        self.details = details

    def show(self, file: IO[str] | None = None) -> None:
        """To stderr."""
        click.echo(f"calicopy: {self.message}", err=True)
        for detail in self.details:
            click.echo(f"  {detail}", err=True)
