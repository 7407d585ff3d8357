"""The grammar of the commands that ask a running foreman."""

from pathlib import Path

import pytest

from foreman.cli import flags
from foreman.cli.client_flags import ASKING, Ask
from foreman.core.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "ask"),
    [
        ("submit llama3 why is it so", Ask("submit", model="llama3", prompt=["why", "is", "it", "so"])),
        (
            "submit --path /api/chat --body - --wait",
            Ask("submit", prompt=[], path="/api/chat", body=Path("-"), wait=True),
        ),
        (
            "submit m x --not-before 60 --url http://b:1",
            Ask("submit", "http://b:1", model="m", prompt=["x"], not_before="60"),
        ),
        (
            "jobs list --state done,failed --model m --limit 3",
            Ask("jobs list", filters={"state": "done,failed", "model": "m"}, limit=3),
        ),
        ("jobs show A --json", Ask("jobs show", as_json=True, jobs=["A"])),
        ("jobs cancel A B", Ask("jobs cancel", jobs=["A", "B"])),
        ("jobs override A B", Ask("jobs override", jobs=["A", "B"])),
        ("pull m n --force", Ask("pull", models=["m", "n"], force=True)),
        ("queue", Ask("queue")),
        ("submit m x --force", Ask("submit", model="m", prompt=["x"], force=True)),
        ("doctor --forecast", Ask("doctor")),
    ],
)
def test_what_is_asked_for(line: str, ask: Ask) -> None:
    assert flags.parse(line.split()).ask == ask


def test_the_key_is_the_settings_own() -> None:
    line = flags.parse(["pause", "--api-key-file", "key", "--config", "f.toml"])
    assert (line.values, line.config_path) == ({"api_key_file": "key"}, Path("f.toml"))
    assert flags.parse(["serve"]).ask is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("jobs list --limit 0", "must be a whole number above 0"),
        ("jobs watch", "required: ID"),
        ("jobs show A B", "unexpected 'B'"),
        ("doctor", "required: --forecast"),
        ("queue --jsn", "unknown flag --jsn; see foreman queue --help"),
    ],
)
def test_a_wrong_command_line_is_one_clear_error(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        flags.parse(line.split())


@pytest.mark.parametrize("command", sorted(ASKING))
def test_every_command_tells_its_exit_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags.parse([*command.split(), "--help"])
    assert "exit status:" in capsys.readouterr().out
