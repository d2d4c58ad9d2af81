"""`calicopy version`: works without an agent."""
from __future__ import annotations

import platform

import click

from calicopy import __version__
from calicopy.cli.options import Output, with_output
from calicopy.cli.output import print_plain

PACKAGES = ("exabgp", "grpcio", "pyroute2")


@click.command()
@with_output
def version(output: Output) -> None:
    """Versions of calicopy and of what it runs on.

    \b
    Examples:
      calicopy version
      calicopy version -o json | jq -r .exabgp
    """
    from importlib import metadata

    found = {"calicopy": __version__, "python": platform.python_version(), "kernel": platform.release()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = ""
    if output.structured:
        print_plain(found, output)
        return
    others = ", ".join(f"{name} {number or 'missing'}" for name, number in found.items() if name != "calicopy")
    click.echo(f"calicopy {__version__} ({others})")
