"""The systemd units of calicopy, with the paths of this installation put in.

`units/` has them as they are, but for `@PYTHON@` (the interpreter that calicopy is installed for) and `@CONFIG@` (the
cluster file). Why a unit says what it says stands beside it.
"""
from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

UNIT_DIR = Path("/etc/systemd/system")
DEFAULT_CONFIG = "/etc/calicopy/cluster.yaml"


def units(*, python: str = sys.executable, config: str = DEFAULT_CONFIG) -> dict[str, str]:
    """The text of each unit by its file name. ValueError for paths that systemd would read as something else."""
    for path in (python, config):
        if not path.startswith("/") or not path.isprintable() or set(path) & set(" \t\"'\\%$"):
            raise ValueError(f"{path!r} cannot stand in a unit: expected an absolute path, no spaces, quotes, % or $")
    folder = resources.files(__name__) / "units"
    return {
        entry.name: entry.read_text(encoding="utf-8").replace("@PYTHON@", python).replace("@CONFIG@", config)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
    }


def install(directory: Path, texts: dict[str, str]) -> list[Path]:
    """Write the units into `directory`, each whole or not at all; the files that were written. OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in texts.items():
        path, new = directory / name, directory / f".{name}.new"
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
        written.append(path)
    return written
