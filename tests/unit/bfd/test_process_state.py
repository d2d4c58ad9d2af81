"""The file that a killed process leaves to the next one."""
from __future__ import annotations

from pathlib import Path

import pytest

from calicopy.bfd.packet import Refusal, State
from calicopy.bfd.process.runner import Runner
from calicopy.bfd.process.settings import SessionSetting
from calicopy.bfd.process.state import StateError, StateFile, read_states


def runner(file: StateFile, peer: str = "10.0.0.2") -> Runner:
    made = Runner(
        SessionSetting(peer, "10.0.0.1"), file.new_slot(), None, discriminator=77, random=lambda: 0.5, now=1.0
    )
    made.save()
    made.slot.take(peer)
    return made


def test_a_session_goes_on_from_its_slot_as_it_was(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "bfd.state"))
    first = runner(file)
    session = first.session
    session.state, session.ups, session.downs, session.remote_discriminator = State.UP, 4, 3, 88
    session.timers.want(up=True)
    session.received, session.heard_at, session.dropped[Refusal.TTL] = 1000, 123.5, 9
    first.acknowledge(2)
    before = first.line().as_text()
    left = read_states(str(tmp_path / "bfd.state"))["10.0.0.2"]
    assert left.as_text() == before
    assert left.remote_independent is False
    file.close()

    file = StateFile(str(tmp_path / "bfd.state"))
    slot, kept = file.found()["10.0.0.2"]
    again = Runner(first.setting, slot, kept, discriminator=5, random=lambda: 0.5, now=124.0)
    assert again.line().as_text() == before
    assert again.holding()
    assert again.session.heard_at == 123.5
    file.close()


def test_a_write_that_is_cut_short_leaves_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "bfd.state"
    file = StateFile(str(path))
    made = runner(file)
    made.slot.write_hot(b"\1" * 33)
    in_force = file.map[made.slot.at + 1]
    made.slot.write_hot(b"\2" * 33)
    file.map[made.slot.at + 1] = in_force  # as if the process had ended before its last octet
    _, kept = file.found()["10.0.0.2"]
    assert kept.hot == b"\1" * 33
    file.close()


def test_a_place_is_given_again_and_the_file_grows_when_none_is_left(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "bfd.state"))
    made = [runner(file, f"10.0.{number // 256}.{number % 256}") for number in range(300)]
    assert len(file.found()) == 300
    file.give_back(made[7].slot)
    assert runner(file, "10.9.9.9").slot.at == made[7].slot.at
    assert len(read_states(str(tmp_path / "bfd.state"))) == 300
    file.close()


def test_the_file_has_all_its_room_before_it_is_mapped(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "bfd.state"))
    for number in range(300):
        runner(file, f"10.0.{number // 256}.{number % 256}")
    found = (tmp_path / "bfd.state").stat()
    assert found.st_blocks * 512 >= found.st_size  # a write to a hole would end the process where the device is full
    file.close()


def test_only_one_process_has_the_file(tmp_path: Path) -> None:
    file = StateFile(str(tmp_path / "bfd.state"))
    with pytest.raises(BlockingIOError):
        StateFile(str(tmp_path / "bfd.state"))
    file.close()


def test_a_file_of_another_boot_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "bfd.state"
    file = StateFile(str(path))
    runner(file)
    file.close()
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StateError):
        read_states(str(path))
    file = StateFile(str(path))
    assert file.found() == {}
    file.close()
