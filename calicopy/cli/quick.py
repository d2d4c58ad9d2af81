"""`calicopy node` and `calicopy agent` the way they are always called, without loading the command line.

Theory of operation: on the way to a node's first route click would be loaded twice, 60 ms each, and the supervisor
would need another process. So options that are nothing but known names with values are read here, with the standard
library alone. All else (help, mistakes, a run directory that the file names) is left to click, which says what is
wrong; so both must agree on names and defaults.
"""
from __future__ import annotations

import os
from collections.abc import Collection, Sequence

DEFAULT_CONFIG = "/etc/calicopy/cluster.yaml"


def run(arguments: Sequence[str]) -> int | None:
    """Run `calicopy ARGUMENTS` and give the exit code; None when that is for click to do, and nothing was done."""
    command, *words = arguments or ("",)
    if command == "agent":
        return _agent(words)
    if command == "node":
        return _node(words)
    return None


def plain_options(
    words: Sequence[str], names: Collection[str], flags: Collection[str] = ()
) -> dict[str, str] | None:
    """`--name value` and `--name=value` as a dictionary, `--flag` with an empty value; None when there is anything else
    in `words`.
    """
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in flags and not equals:
            found[name] = ""
            continue
        if not word.startswith("--") or name not in names:
            return None
        if not equals:
            value = next(rest, "")
        if not value or value.startswith("-"):
            return None
        found[name] = value
    return found


def _agent(words: Sequence[str]) -> int | None:
    options = plain_options(words, ("config", "node", "readyz-listen"), ("drain",))
    if options is None or os.path.isdir(options.get("config", DEFAULT_CONFIG)):  # noqa: PTH112 - pathlib loads slowly
        return None
    from pathlib import Path

    from calicopy.agent import main

    return main(
        Path(options.get("config", DEFAULT_CONFIG)),
        options.get("node"),
        drain="drain" in options,
        readyz_listen=options.get("readyz-listen"),
    )


def _node(words: Sequence[str]) -> int | None:
    options = plain_options(words, ("config", "node", "readyz-listen", "run-dir"), ("drain",))
    if options is None:
        return None
    config = options.get("config", DEFAULT_CONFIG)
    arguments = ["--config", config]
    for name in ("node", "readyz-listen"):
        if name in options:
            arguments += [f"--{name}", options[name]]
    if "drain" in options:
        arguments.append("--drain")
    if "run-dir" in options:
        arguments = ["--run-dir", options["run-dir"], *arguments]
    elif _may_name_run_dir(config):
        return None
    from calicopy.node import main

    return main(arguments)


def _may_name_run_dir(config: str) -> bool:
    """Whether the file has to be read properly, or cannot be read."""
    try:
        with open(config, encoding="utf-8") as file:  # noqa: PTH123 - as above
            return "run_dir" in file.read()
    except (OSError, UnicodeDecodeError):
        return True
