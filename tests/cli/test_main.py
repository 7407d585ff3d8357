import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from foreman.cli.main import main
from foreman.config import Configured
from foreman.core.errors import ConfigError, StartupError, StoreUnusable


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


class Served:
    """Stands where the server would be started; remembers with what."""

    def __init__(self, outcome: int | StartupError = 0) -> None:
        self.outcome = outcome
        self.calls: list[tuple[Configured, bool]] = []

    def serve(self, configured: Configured, stub_if_absent: bool) -> int:
        self.calls.append((configured, stub_if_absent))
        if isinstance(self.outcome, StartupError):
            raise self.outcome
        return self.outcome


def put(monkeypatch: pytest.MonkeyPatch, module: str, **names: object) -> None:
    fake = types.ModuleType(module)
    vars(fake).update(names)
    monkeypatch.setitem(sys.modules, module, fake)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "foreman 0.1.0\n"


def test_python_m_foreman_is_foreman() -> None:
    command = [sys.executable, "-m", "foreman", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "foreman 0.1.0\n"


def test_looking_at_the_version_loads_no_server() -> None:
    code = "import sys; from foreman.cli.main import main; main(['--version']); print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_config_show_prints_values_and_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREMAN_MAX_ATTEMPTS", "9")
    assert main(["config", "show", "--target", "box:1", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["target"] == {"value": "http://box:1", "source": "flag --target"}
    assert table["max_attempts"] == {"value": 9, "source": "FOREMAN_MAX_ATTEMPTS"}


def test_config_show_also_shows_what_serve_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--listen", "0.0.0.0:1"]) == 0
    assert "0.0.0.0:1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["serve", "--pol-seconds", "1"], "did you mean --poll-seconds?"),
        (["serve", "--poll-seconds", "x"], "poll_seconds (from flag --poll-seconds) is 'x'"),
        (["serve", "--config", "/nowhere.toml"], "/nowhere.toml does not exist"),
        (["config"], "required: COMMAND"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("foreman: ")
    assert words in line
    assert captured.out == ""


def test_what_others_can_reach_is_not_served_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--listen", "0.0.0.0:1", f"--db={tmp_path / 'f.db'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "`foreman keys create`" in line
    assert "--insecure-no-auth" in line


def test_an_error_cannot_fool_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--\x1b[31mred\n"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_serve_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(outcome=3)
    put(monkeypatch, "foreman.cli.serve", serve=served.serve)
    assert main(["serve", "--listen", ":0", "--stub-if-absent"]) == 3
    ((configured, stub_if_absent),) = served.calls
    assert (configured.settings.listen.port, configured.sources["listen"], stub_if_absent) == (0, "flag --listen", True)


@pytest.mark.parametrize(("error", "status"), [(StoreUnusable("held by 7"), 1), (ConfigError("held by 7"), 2)])
def test_a_start_that_fails_is_one_line(
    error: StartupError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(monkeypatch, "foreman.cli.serve", serve=Served(error).serve)
    assert main(["serve"]) == status
    assert capsys.readouterr().err == "foreman: held by 7\n"


def test_demo_gives_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "foreman.cli.demo", run=lambda: 4)
    assert main(["demo"]) == 4
