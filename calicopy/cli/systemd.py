"""`calicopy systemd`: the units, with the paths of this installation."""
from __future__ import annotations

from pathlib import Path

import click

from calicopy.cli.errors import CliError
from calicopy.cli.quick import DEFAULT_CONFIG
from calicopy.systemd import UNIT_DIR, install, units

_config = click.option("--config", type=click.Path(dir_okay=False), default=DEFAULT_CONFIG, show_default=True,
                       metavar="FILE", help="The cluster file of the agent's unit.")


@click.group()
def systemd() -> None:
    """The systemd units of agent, speaker, BFD and the forwarder of encapsulation udp."""


@systemd.command("units")
@_config
def show(config: str) -> None:
    """Print the units.

    \b
    Example:
      calicopy systemd units | less
    """
    click.echo("\n".join(f"# {name}\n{text}" for name, text in _units(config).items()), nl=False)


@systemd.command("install")
@_config
@click.option("--prefix", type=click.Path(file_okay=False, path_type=Path), default=UNIT_DIR, show_default=True,
              metavar="DIR", help="Where the units go.")
def install_units(config: str, prefix: Path) -> None:
    """Write the units. Nothing is started or enabled.

    \b
    Example:
      calicopy systemd install && systemctl daemon-reload && systemctl enable --now calicopy.target
    """
    try:
        for path in install(prefix, _units(config)):
            click.echo(str(path))
    except OSError as error:
        raise CliError(f"{error.filename or prefix}: {error.strerror}") from error


def _units(config: str) -> dict[str, str]:
    try:
        return units(config=str(Path(config).absolute()))
    except ValueError as error:
        raise CliError(str(error)) from error
