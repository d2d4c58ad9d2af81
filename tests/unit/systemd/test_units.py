"""The units: systemd understands them, and they let a process do no more than it has to."""
from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from calicopy.cli.main import run
from calicopy.systemd import install, units

SERVICES = {"agent": 4.2, "speaker": 2.8, "bfd": 2.8, "udp": 2.8}
"""The most that `systemd-analyze security` may find exposed of each, of 10."""
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


def setting(text: str, key: str) -> str | None:
    found = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return found[-1] if found else None


@needs_systemd
def test_systemd_finds_nothing_to_say_of_the_units(tmp_path):
    paths = install(tmp_path, units())
    done = subprocess.run(["systemd-analyze", "verify", *map(str, paths)], capture_output=True, text=True, check=False)
    own = [line for line in (done.stdout + done.stderr).splitlines() if "calicopy" in line]
    assert (done.returncode, own) == (0, [])


@needs_systemd
@pytest.mark.parametrize(("name", "most"), SERVICES.items())
def test_a_unit_is_not_more_exposed_than_it_has_to_be(tmp_path, name, most):
    install(tmp_path, units())
    unit = tmp_path / f"calicopy-{name}.service"
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={round(most * 10)}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:] or done.stderr


def test_no_unit_stops_with_another_one_or_takes_its_files_away():
    for name, text in units().items():
        assert not re.search(r"^(Requires|BindsTo|Requisite)=", text, re.MULTILINE), name
        if name.endswith(".service"):
            assert setting(text, "RuntimeDirectory") == "calicopy"
            assert setting(text, "RuntimeDirectoryPreserve") == "yes"
            assert (setting(text, "Type"), setting(text, "KillMode")) == ("notify", "mixed")
            assert (setting(text, "Restart"), setting(text, "StartLimitIntervalSec")) == ("always", "0")
            assert setting(text, "PartOf") == "calicopy.target"


def test_the_agent_may_set_sysctls_and_enter_namespaces_and_bfd_runs_in_real_time():
    texts = units()
    agent, bfd = texts["calicopy-agent.service"], texts["calicopy-bfd.service"]
    assert setting(agent, "ProtectKernelTunables") == "no"
    assert setting(agent, "RestrictNamespaces") == "net"
    assert setting(agent, "WatchdogSec") == "60s"
    assert "ProtectProc" not in re.findall(r"^(\w+)=", agent, re.MULTILINE)
    assert (setting(bfd, "CPUSchedulingPolicy"), setting(bfd, "RestrictRealtime")) == ("fifo", None)


def test_install_writes_every_unit_with_the_paths_of_this_installation(tmp_path, capsys):
    assert run(["systemd", "install", "--prefix", str(tmp_path / "units"), "--config", "/srv/c.yaml"]) == 0
    names = sorted(path.name for path in (tmp_path / "units").iterdir())
    assert names == sorted(units())
    assert capsys.readouterr().out.split() == [str(tmp_path / "units" / name) for name in names]
    agent = (tmp_path / "units" / "calicopy-agent.service").read_text()
    assert "-m calicopy agent --config /srv/c.yaml" in agent
    assert "ReadWritePaths=/srv\n" in agent
    assert not re.search(r"@[A-Z]+@", agent)


def test_the_agent_may_write_beside_the_file_that_the_cluster_file_leads_to(tmp_path, monkeypatch):
    monkeypatch.setattr("calicopy.systemd.PRIVATE", ())  # where tmp_path is
    (tmp_path / "real").mkdir()
    (tmp_path / "real/c.yaml").touch()
    (tmp_path / "c.yaml").symlink_to("real/c.yaml")
    agent = units(config=str(tmp_path / "c.yaml"))["calicopy-agent.service"]
    assert setting(agent, "ReadWritePaths") == str(tmp_path / "real")
    assert setting(units()["calicopy-agent.service"], "ReadWritePaths") is None


@pytest.mark.parametrize("path", ["/tmp/c.yaml", "/var/tmp/calicopy/c.yaml", "/srv/../tmp/c.yaml"])
def test_a_cluster_file_that_the_agents_unit_would_not_see_is_refused(path):
    with pytest.raises(ValueError, match="a /tmp of its own"):
        units(config=path)


def test_the_boot_does_not_wait_for_the_agent():
    assert setting(units()["calicopy.target"], "DefaultDependencies") == "no"


@pytest.mark.parametrize("path", ["relative", "/with space", "/with%percent"])
def test_a_path_that_systemd_would_read_otherwise_is_refused(path):
    with pytest.raises(ValueError, match="cannot stand in a unit"):
        units(config=path)
