"""The files of deploy/: each is read as its own program would read it, and held against the settings and the house."""

import configparser
import os
import plistlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from foreman.config import load
from foreman.settings import SETTINGS, Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
STOP_SECONDS = 60
PORT = 11435


def test_every_file_is_known_here() -> None:
    known = {
        "Caddyfile",
        "Dockerfile",
        "README.md",
        "compose.yaml",
        "foreman.plist",
        "foreman.service",
        "grafana.json",
        "install-agent.sh",
        "nginx.conf",
    }
    assert {path.name for path in DEPLOY.iterdir()} == known


def stops_in_time(seconds: int) -> bool:
    """The running job may take `drain_seconds`; the worker then writes how it ended (10 s), clients are sent away."""
    return seconds >= Settings().drain_seconds + 20


# -- systemd


class Unit(configparser.RawConfigParser):
    """A unit file: keys in their own case, repeated ones collected."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(scope="module")
def service() -> dict[str, list[str]]:
    text = (DEPLOY / "foreman.service").read_text()
    found: dict[str, list[str]] = {}
    numbered = re.sub(r"^(\w+)=", lambda m: f"{m[1]}#{m.start()}=", text, flags=re.MULTILINE)
    unit = Unit(delimiters=("=",), comment_prefixes=("#", ";"), interpolation=None, strict=True)
    unit.read_string(numbered)
    assert unit.sections() == ["Unit", "Service", "Install"]
    for key, value in unit.items("Service"):
        found.setdefault(key.partition("#")[0], []).append(value)
    return found


def environ_of(service: dict[str, list[str]]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in service["Environment"])


def test_the_unit_gives_settings_that_foreman_takes(service: dict[str, list[str]]) -> None:
    settings = load({}, {"HOME": "/var/lib/foreman"} | environ_of(service)).settings
    assert settings.listen.loopback
    assert settings.db == Path("/var/lib") / service["StateDirectory"][0] / "foreman.db"


def test_the_unit_keeps_what_it_writes_private(service: dict[str, list[str]]) -> None:
    assert service["UMask"] == ["0077"]
    assert service["StateDirectoryMode"] == ["0700"]
    assert service["LimitCORE"] == ["0"]


def test_the_unit_is_restarted_unless_a_setting_is_wrong(service: dict[str, list[str]]) -> None:
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]


def test_the_unit_leaves_time_for_the_running_job(service: dict[str, list[str]]) -> None:
    assert stops_in_time(int(service["TimeoutStopSec"][0].removesuffix("s")))


def test_the_unit_waits_for_foreman_and_watches_it(service: dict[str, list[str]]) -> None:
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["WatchdogSec"] == ["30s"]


def test_the_unit_leaves_the_gate_what_it_reads(service: dict[str, list[str]]) -> None:
    assert service["ProcSubset"] == ["all"]
    assert service["ProtectProc"] == ["default"]


def test_the_unit_takes_everything_away(service: dict[str, list[str]]) -> None:
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == [""]
    assert service["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert service["IPAddressDeny"] == ["any"]
    switches = ("NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID")
    assert {switch: service[switch] for switch in switches} == {switch: ["yes"] for switch in switches}


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit as systemd's own tools want to see it: its program exists."""
    program = tmp_path / "foreman"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "foreman.service"
    unit.write_text((DEPLOY / "foreman.service").read_text().replace("/opt/foreman/bin/foreman", str(program)))
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_reads_the_unit_without_complaint(installed_unit: Path) -> None:
    found = subprocess.run(
        ["systemd-analyze", "verify", str(installed_unit)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_rates_the_unit_as_its_page_says(installed_unit: Path) -> None:
    """The exact figure is that of the systemd at hand; a newer one asks for more."""
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(installed_unit)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if "offline" in found.stderr:
        pytest.skip("this systemd cannot rate a unit that is not installed")
    rated = re.search(r"exposure level for foreman.service: ([0-9.]+)", found.stdout)
    assert rated is not None, found.stdout + found.stderr
    assert float(rated[1]) <= 2.0
    assert "rates it\n1.3 " in (DEPLOY / "README.md").read_text()


# -- launchd


@pytest.fixture(scope="module")
def agent() -> dict[str, object]:
    text = (DEPLOY / "foreman.plist").read_text().replace("@HOME@", "/Users/someone")
    found: dict[str, object] = plistlib.loads(text.encode())
    return found


def test_the_agent_gives_settings_that_foreman_takes(agent: dict[str, object]) -> None:
    environ = agent["EnvironmentVariables"]
    assert isinstance(environ, dict)
    assert load({}, {"HOME": "/Users/someone"} | environ).settings.listen.loopback


def test_the_agent_runs_foreman_from_absolute_paths(agent: dict[str, object]) -> None:
    assert agent["ProgramArguments"] == ["/Users/someone/foreman/.venv/bin/foreman", "serve"]
    assert str(agent["StandardErrorPath"]).startswith("/Users/someone/")


def test_the_agent_is_private_restarted_after_a_crash_and_given_time(agent: dict[str, object]) -> None:
    assert agent["Umask"] == 0o77
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert isinstance(agent["ExitTimeOut"], int)
    assert stops_in_time(agent["ExitTimeOut"])


def test_the_agent_may_hold_a_client_for_every_waiting_job(agent: dict[str, object]) -> None:
    limits = agent["SoftResourceLimits"]
    assert isinstance(limits, dict)
    assert limits["NumberOfFiles"] > Settings().max_queued


def agent_script(home: Path, *arguments: str, program: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the script in a home of its own, with a launchctl that writes down what it is asked."""
    folder = home / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    launchctl = folder / "launchctl"
    launchctl.write_text('#!/bin/sh\necho "$@" >> "$HOME/asked"\n')
    launchctl.chmod(0o755)
    copy = home / "some where" / "deploy"
    shutil.copytree(DEPLOY, copy, dirs_exist_ok=True)
    if program:
        installed = home / "some where" / ".venv" / "bin" / "foreman"
        installed.parent.mkdir(parents=True, exist_ok=True)
        installed.write_text("#!/bin/sh\n")
        installed.chmod(0o755)
    command = ["sh", str(copy / "install-agent.sh"), *arguments]
    environ = {"HOME": str(home), "PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_the_script_installs_the_agent_and_removes_it(tmp_path: Path) -> None:
    for _ in range(2):
        assert agent_script(tmp_path).returncode == 0
    plist = tmp_path / "Library" / "LaunchAgents" / "local.foreman.plist"
    installed = plistlib.loads(plist.read_bytes())
    assert installed["ProgramArguments"] == [f"{tmp_path}/some where/.venv/bin/foreman", "serve"]
    assert installed["StandardErrorPath"] == f"{tmp_path}/Library/Logs/foreman.log"
    assert agent_script(tmp_path, "--remove").returncode == 0
    assert not plist.exists()
    domain = f"gui/{os.getuid()}"
    start, stop = f"bootstrap {domain} {plist}", f"bootout {domain}/local.foreman"
    assert (tmp_path / "asked").read_text().splitlines() == [stop, start, stop, start, stop]


def test_the_script_says_what_is_wrong(tmp_path: Path) -> None:
    missing = agent_script(tmp_path, program=False)
    assert (missing.returncode, "install foreman first" in missing.stderr) == (1, True)
    wrong = agent_script(tmp_path, "--stop")
    assert (wrong.returncode, wrong.stderr) == (2, "usage: install-agent.sh [--remove]\n")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
def test_the_script_is_clean() -> None:
    found = subprocess.run(["shellcheck", DEPLOY / "install-agent.sh"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


# -- containers


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    text = (DEPLOY / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [line for line in joined.splitlines() if line.strip()]


def test_the_image_is_built_from_files_that_exist(dockerfile: list[str]) -> None:
    copies = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ") and "--from=" not in line]
    sources = [source for copy in copies for source in copy]
    assert {"requirements.lock", "pyproject.toml", "foreman"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_installs_what_is_locked_and_nothing_else(dockerfile: list[str]) -> None:
    installs = [line for line in dockerfile if "pip install" in line]
    assert [("--require-hashes" in line, "--no-deps --no-build-isolation ." in line) for line in installs] == [
        (True, False),
        (False, True),
    ]


def test_the_image_runs_as_nobody_special(dockerfile: list[str]) -> None:
    users = [line for line in dockerfile if line.startswith("USER ")]
    last_stage = max(n for n, line in enumerate(dockerfile) if line.startswith("FROM "))
    assert users == ["USER foreman"]
    assert dockerfile.index("USER foreman") > last_stage
    assert any("--mode=0700 --owner=foreman" in line for line in dockerfile)


def test_the_image_alone_refuses_to_serve_everybody(dockerfile: list[str]) -> None:
    (line,) = (line for line in dockerfile if line.startswith("ENV "))
    environ = dict(pair.split("=", 1) for pair in line.split()[1:])
    settings = load({}, {"HOME": "/"} | environ).settings
    assert not settings.listen.loopback
    assert not settings.insecure_no_auth
    assert settings.listen.port == PORT
    assert f"EXPOSE {PORT}" in dockerfile
    assert str(settings.db.parent) in [line.removeprefix("VOLUME ") for line in dockerfile]


def test_the_health_check_asks_for_what_needs_no_key(dockerfile: list[str]) -> None:
    (check,) = (line for line in dockerfile if line.startswith("HEALTHCHECK "))
    assert f"http://127.0.0.1:{PORT}/'" in check


@pytest.fixture(scope="module")
def compose() -> dict[str, list[str]]:
    """The lines below each service, without comments; the file is plain enough to be read without a YAML parser."""
    found: dict[str, list[str]] = {}
    section = service = ""
    for raw in (DEPLOY / "compose.yaml").read_text().splitlines():
        line = raw.split(" #")[0].rstrip()
        if not line or line.lstrip().startswith("#"):
            continue
        if not line.startswith(" "):
            section = line.rstrip(":")
        elif section == "services" and re.fullmatch(r"  \w+:", line):
            service = line.strip(" :")
        else:
            found.setdefault(service if section == "services" else section, []).append(line.strip())
    return found


def environment_of(lines: list[str], prefix: str) -> dict[str, str]:
    matches = (re.fullmatch(rf'({prefix}_\w+): "(.*)"', line) for line in lines)
    return {match[1]: match[2] for match in matches if match is not None}


def test_only_foreman_is_published_and_only_here(compose: dict[str, list[str]]) -> None:
    assert f'- "127.0.0.1:{PORT}:{PORT}"' in compose["foreman"]
    assert "ports:" not in compose["ollama"]
    published = [line for lines in compose.values() for line in lines if re.match(r'- "?[\d.]*:?\d+:\d+', line)]
    assert len(published) == 1


def test_the_database_lies_in_a_named_volume(compose: dict[str, list[str]]) -> None:
    assert "- foreman:/var/lib/foreman" in compose["foreman"]
    assert {"foreman:", "ollama:"} <= set(compose["volumes"])


def test_the_container_gives_settings_that_foreman_takes(compose: dict[str, list[str]]) -> None:
    environ = environment_of(compose["foreman"], "FOREMAN")
    settings = load({}, {"HOME": "/", "FOREMAN_LISTEN": f"0.0.0.0:{PORT}"} | environ).settings
    assert settings.insecure_no_auth
    assert settings.target == "http://ollama:11434"
    assert settings.allowed_hosts == ("foreman",)


def test_the_container_leaves_time_for_the_running_job(compose: dict[str, list[str]]) -> None:
    assert f"stop_grace_period: {STOP_SECONDS}s" in compose["foreman"]
    assert stops_in_time(STOP_SECONDS)


def test_the_container_is_built_from_the_image_here(compose: dict[str, list[str]]) -> None:
    assert compose["foreman"][1:3] == ["context: ..", "dockerfile: deploy/Dockerfile"]


def test_the_ollama_beside_it_has_the_recommended_settings(compose: dict[str, list[str]]) -> None:
    recommended = set(re.findall(r"^\| `(OLLAMA_\w+)` \|", (ROOT / "docs" / "target.md").read_text(), re.MULTILINE))
    assert set(environment_of(compose["ollama"], "OLLAMA")) == recommended


# -- all of it


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(DEPLOY.iterdir())]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_every_variable_named_is_a_setting(path: Path) -> None:
    known = {entry.env for entry in SETTINGS} | {"FOREMAN_CONFIG", "FOREMAN_URL", "FOREMAN_"}
    assert Counter(re.findall(r"FOREMAN_\w*", path.read_text())).keys() <= known
