"""A new cluster file on the command line: checked here, so that every error comes at once, before the agent sees it."""
from __future__ import annotations

import click

from calicopy.cli.errors import ExitCode
from calicopy.cli.output import printable


def read_new_file(path: str) -> bytes:
    """The text of a valid cluster file. Ends the command as `config validate` does when it is not."""
    from calicopy.config.load import load_bytes, load_file
    from calicopy.config.yamltree import MAX_BYTES

    try:
        with click.open_file(path, "rb") as file:
            text: bytes = file.read(MAX_BYTES + 1)  # /dev/zero has no end
    except OSError:
        result = load_file(path)  # says it as for every command
    else:
        result = load_bytes(text, filename=path)
    for error in result.errors:
        click.echo(printable(error), err=True)
    for warning in result.warnings:
        click.echo(f"{printable(warning)} (warning)", err=True)
    if result.config is None:
        click.get_current_context().exit(int(ExitCode.REFUSED))
    return text
