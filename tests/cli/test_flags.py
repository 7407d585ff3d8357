from pathlib import Path

import pytest

from foreman.cli import flags
from foreman.core.errors import ConfigError
from foreman.kinds import SWITCH
from foreman.settings import SETTINGS, Setting


def test_serve_without_flags_gives_no_values() -> None:
    assert flags.parse(["serve"]) == flags.CommandLine("serve", {})


def test_every_setting_is_a_flag_whose_text_is_passed_on() -> None:
    for command in (["serve"], ["config", "show"]):
        argv = [word for entry in SETTINGS for word in (entry.flag, f"text of {entry.name}")]
        assert flags.parse([*command, *argv]).values == {entry.name: f"text of {entry.name}" for entry in SETTINGS}


@pytest.mark.parametrize("switch", [entry for entry in SETTINGS if entry.meta.kind is SWITCH], ids=lambda e: e.name)
def test_a_switch_needs_no_value_but_may_have_one(switch: Setting) -> None:
    assert flags.parse(["serve", switch.flag]).values == {switch.name: "true"}
    assert flags.parse(["serve", f"{switch.flag}=false", "--db", "x"]).values == {switch.name: "false", "db": "x"}


def test_the_commands_own_switches() -> None:
    line = flags.parse(["serve", "--stub-if-absent", "--config", "f.toml"])
    assert (line.command, line.stub_if_absent, line.config_path) == ("serve", True, Path("f.toml"))
    line = flags.parse(["config", "show", "--json"])
    assert (line.command, line.as_json) == ("config show", True)
    assert flags.parse(["demo"]).command == "demo"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["serve", "--pol-seconds", "3"], r"unknown flag --pol-seconds; did you mean --poll-seconds\?"),
        (["serve", "--max-attempt=3"], r"unknown flag --max-attempt; did you mean --max-attempts\?"),
        (["serve", "--zzz"], "unknown flag --zzz; `foreman config show` lists all settings"),
        (["serve", "--list", ":0"], r"unknown flag --list; did you mean --listen\?"),
        (["config", "show", "--jsn"], r"did you mean --json\?"),
        (["demo", "--target", "x"], "unknown flag --target"),
        (["serve", "here"], "unexpected 'here'"),
        (["srve"], "invalid choice: 'srve' .*serve.* see foreman --help"),
        ([], "required: COMMAND; see foreman --help"),
        (["config"], "required: COMMAND; see foreman config --help"),
        (["serve", "--db"], "--db: expected one argument"),
        (["serve", "--keep-alive", "-1m"], "begins with - is written --flag=VALUE"),
    ],
)
def test_a_wrong_command_line_is_one_clear_error(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        flags.parse(argv)


def test_the_help_names_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        flags.parse(["serve", "--help"])
    assert done.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for entry in SETTINGS:
        assert entry.flag in text
        assert " ".join(entry.meta.meaning.split())[:20] in text
    assert "(default: 128 MiB)" in text
