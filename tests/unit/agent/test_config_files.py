"""What the agent keeps of its configurations on disk, and what it begins with after a change that was not good."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from calicopy.agent.config_files import ConfigFiles, write_whole
from calicopy.agent.startup import read_startup
from calicopy.config.errors import ClusterFileError


def text(state: Path, name: str) -> bytes:
    """A cluster file that says `name`."""
    return (
        f"cluster: {{name: {name}}}\nnodes:\n  - {{name: n1, address: 192.0.2.1/24}}\n"
        f"pools:\n  - cidr: 10.244.0.0/16\nagent: {{state_dir: {state}}}\n"
    ).encode()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def own(tmp_path: Path, state: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_bytes(text(state, "good"))
    return path


@pytest.fixture
def files(own: Path, state: Path) -> ConfigFiles:
    return ConfigFiles(own, state)


def begun(own: Path) -> tuple[str, bool]:
    """What an agent that starts begins with: the name in the text, and whether it is that of its own file."""
    startup = read_startup(own)
    return startup.config.cluster.name, startup.own


def test_the_good_text_before_the_last_one_is_the_previous_one(files: ConfigFiles) -> None:
    assert (files.running(), files.previous()) == (None, None)
    for name in (b"a", b"b", b"b"):
        files.keep(name)
    assert (files.running(), files.previous()) == (b"b", b"a")


def test_an_agent_begins_with_its_own_file(own: Path, files: ConfigFiles, state: Path) -> None:
    files.keep(text(state, "older"))
    assert begun(own) == ("good", True)


def test_one_that_died_during_an_apply_begins_with_what_ran(own: Path, files: ConfigFiles, state: Path) -> None:
    """Also when that was not what its own file has."""
    files.begin(text(state, "running"), text(state, "new"), "apply")
    assert begun(own) == ("running", False)
    assert begun(own) == ("running", False)
    own.write_bytes(text(state, "edited"))
    assert begun(own) == ("edited", True)
    assert files.pending() is None


def test_one_that_died_during_a_sighup_begins_with_what_ran_until_the_file_is_changed(
    own: Path, files: ConfigFiles, state: Path
) -> None:
    own.write_bytes(text(state, "bad"))
    files.begin(text(state, "good"), text(state, "bad"), "SIGHUP")
    assert begun(own) == ("good", False)
    files.restored()
    assert begun(own) == ("good", False)
    own.write_bytes(text(state, "better"))
    assert begun(own) == ("better", True)


def test_what_was_restored_after_an_apply_leaves_no_note(own: Path, files: ConfigFiles, state: Path) -> None:
    files.begin(own.read_bytes(), text(state, "new"), "apply")
    files.restored()
    assert files.pending() is None
    assert begun(own) == ("good", True)


def test_a_last_good_text_that_is_damaged_does_not_keep_the_agent_down(
    own: Path, files: ConfigFiles, state: Path
) -> None:
    files.begin(b"nonsense: [", own.read_bytes(), "SIGHUP")
    assert begun(own) == ("good", True)
    (state / "config" / "pending.json").write_text("{")
    assert files.pending() is None
    own.write_bytes(b"nodes: 7\n")
    with pytest.raises(ClusterFileError):
        read_startup(own)


def test_a_file_is_written_whole_with_its_mode_and_owner(own: Path, files: ConfigFiles) -> None:
    own.chmod(0o604)
    os.chown(own, 12, 34)
    files.save(b"new")
    found = own.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o604, 12, 34)
    assert own.read_bytes() == b"new"
    assert [*own.parent.iterdir()] == [own]


def test_a_link_stays_a_link(own: Path, tmp_path: Path, state: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(own)
    ConfigFiles(link, state).save(b"new")
    assert link.is_symlink()
    assert own.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["read-only", "no-directory", "directory"])
def test_what_cannot_be_written_is_an_error_and_leaves_the_old_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    if name == "read-only":
        path.write_bytes(b"old")
        path.chmod(0o444)
    elif name == "directory":
        path.mkdir()
    else:
        path = tmp_path / "none" / "file"
    with pytest.raises(OSError, match=path.name) as caught:
        write_whole(path, b"new")
    assert caught.value.strerror
    assert name != "read-only" or path.read_bytes() == b"old"
    assert not any(entry.name.endswith(".new") for entry in tmp_path.iterdir())
