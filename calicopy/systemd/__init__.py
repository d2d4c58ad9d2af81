"""The systemd units of calicopy, with the paths of this installation put in.

`units/` has them as they are, but for `@PYTHON@` (the interpreter that calicopy is installed for), `@CONFIG@` (the
cluster file) and `@WRITABLE@` (where that is, when the unit may not write there anyway). Why a unit says what it says
stands beside it.
"""
from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

UNIT_DIR = Path("/etc/systemd/system")
DEFAULT_CONFIG = "/etc/calicopy/cluster.yaml"
WRITABLE = Path("/etc/calicopy")
PRIVATE = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - PrivateTmp: a unit has its own


def units(*, python: str = sys.executable, config: str = DEFAULT_CONFIG) -> dict[str, str]:
    """The text of each unit by its file name.

    ValueError for paths that systemd would read as something else, and for a cluster file that the agent's unit would
    not see.
    """
    resolved = Path(config).resolve()  # `apply` replaces the file that a link leads to
    for path in (python, config, str(resolved)):
        if not path.startswith("/") or not path.isprintable() or set(path) & set(" \t\"'\\%$"):
            raise ValueError(f"{path!r} cannot stand in a unit: expected an absolute path, no spaces, quotes, % or $")
    for file in (Path(config), resolved):
        if any(file.is_relative_to(place) for place in PRIVATE):
            raise ValueError(f"{file}: the agent's unit has a /tmp of its own, and would not see it: put it elsewhere")
    writable = "" if resolved.parent.is_relative_to(WRITABLE) else f"ReadWritePaths={resolved.parent}\n"
    filled = {"@PYTHON@": python, "@CONFIG@": config, "@WRITABLE@": writable}
    folder = resources.files(__name__) / "units"
    return {
        entry.name: _filled(entry.read_text(encoding="utf-8"), filled)
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
    }


def _filled(text: str, values: dict[str, str]) -> str:
    for place, value in values.items():
        text = text.replace(place, value)
    return text


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
