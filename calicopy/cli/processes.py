"""`calicopy node`, `agent`, `speaker`, `udp` and `bfd-process`: the processes themselves.

Theory of operation: plain calls of node and agent never come here (see `quick`). The others live for months and need
nothing of the command line, so these commands become them by exec: the same process, so that PID 1 stays PID 1, with
only what it needs in memory.
"""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from calicopy.cli.errors import CliError, ExitCode
from calicopy.cli.quick import DEFAULT_CONFIG

_config = click.option("--config", "config", type=click.Path(dir_okay=False), default=DEFAULT_CONFIG, show_default=True,
                       metavar="FILE", help="The cluster file.")
_node = click.option("--node", "name", metavar="NAME", help="Which node of the file this is.  [default: the hostname]")
_drain = click.option("--drain", is_flag=True, help="SIGTERM drains the node first; a second one ends at once.")

_readyz = click.option("--readyz-listen", metavar="ADDRESS:PORT",
                       help="Serve /readyz over HTTP on this address of this host too, such as 127.0.0.1:9099.")


@click.command()
@_config
@_node
@_drain
@_readyz
def agent(config: str, name: str | None, *, drain: bool, readyz_listen: str | None) -> None:
    """Run the agent until SIGTERM. Routes and sessions stay when it ends; with --drain its routes are withdrawn first.

    \b
    Examples:
      calicopy agent --config /etc/calicopy/cluster.yaml
      calicopy agent --config cluster.yaml --node node1
    """
    from calicopy.agent import main

    click.get_current_context().exit(main(Path(config), name, drain=drain, readyz_listen=readyz_listen))


@click.command()
@_config
@_node
@_drain
@_readyz
@click.option("--run-dir", metavar="DIR", help="For locks and sockets.  [default: that of the cluster file]")
def node(config: str, name: str | None, *, drain: bool, readyz_listen: str | None, run_dir: str | None) -> None:
    """Run speaker, agent and, where wanted, udp and bfd; start each again when it ends. Fit to be PID 1.

    \b
    Examples:
      calicopy node --config /etc/calicopy/cluster.yaml
      calicopy node --config cluster.yaml --node node1
    """
    arguments = ["--config", config] + (["--node", name] if name is not None else []) + ["--drain"] * drain
    arguments += ["--readyz-listen", readyz_listen] if readyz_listen is not None else []
    place = run_dir if run_dir is not None else _run_dir(config)
    _become("calicopy.node", *(["--run-dir", place] if place else []), *arguments)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--config", "config", type=click.Path(dir_okay=False), metavar="FILE",
              help="The ExaBGP configuration that the agent renders.  [default: /run/calicopy/exabgp.conf]")
def speaker(config: str | None) -> None:
    """Run ExaBGP for the agent: waits for its configuration, then becomes ExaBGP.

    \b
    Example:
      calicopy speaker --config /run/calicopy/exabgp.conf
    """
    _become("calicopy.speaker.unit", *(["--config", config] if config is not None else []))


@click.command()
@click.option("--run-dir", metavar="DIR", help="Where the agent writes udp.settings.  [default: /run/calicopy]")
def udp(run_dir: str | None) -> None:
    """Forward packets of pools with encapsulation udp, while the agent asks for it.

    \b
    Example:
      calicopy udp --run-dir /run/calicopy
    """
    _become("calicopy.udp.unit", *(["--run-dir", run_dir] if run_dir is not None else []))


@click.command("bfd-process")
@click.option("--run-dir", metavar="DIR", help="Where the agent writes bfd.sessions.  [default: /run/calicopy]")
def bfd_process(run_dir: str | None) -> None:
    """Hold the BFD sessions that the agent asks for. A path that fails is taken out of use also while it is away.

    \b
    Example:
      calicopy bfd-process --run-dir /run/calicopy
    """
    _become("calicopy.bfd.process.unit", *(["--run-dir", run_dir] if run_dir is not None else []))


def _run_dir(config: str) -> str | None:
    """The run directory that the file names; None for the default. Loads the file only when it names one at all."""
    try:
        text = Path(config).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CliError(f"{config}: cannot be read: {why}", code=ExitCode.REFUSED) from error
    if "run_dir" not in text:
        return None
    from calicopy.config import load_text

    result = load_text(text, filename=config)
    if result.config is None:
        raise CliError("the cluster file is refused", code=ExitCode.REFUSED, details=list(map(str, result.errors)))
    return result.config.agent.run_dir


def _become(module: str, *arguments: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - our own module, no shell
