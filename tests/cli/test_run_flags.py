"""What `foreman run` is told, and that the command's own words are left alone."""

import pytest

from foreman.cli import flags
from foreman.cli.run_flags import RunAsk, split
from foreman.core.errors import ConfigError
from foreman.core.lanes import Lane


def asked(*words: str) -> RunAsk:
    line = flags.parse(["run", *words])
    assert line.run is not None
    return line.run


def test_the_command_is_what_stands_behind_the_dashes() -> None:
    found = asked("--local", "--memory", "40GB", "--", "make", "--local", "--", "-j4")
    assert found == RunAsk(Lane.LOCAL, ["make", "--local", "--", "-j4"], "make", 40 * 10**9)
    assert asked("--remote", "--label", "sweep", "--expiry", "5", "--url", "http://x", "--", "a") == RunAsk(
        Lane.REMOTE, ["a"], "sweep", None, 5.0, "http://x"
    )


def test_what_is_forced_is_so_for_this_command_only() -> None:
    assert asked("--local", "--force", "--", "a", "--force") == RunAsk(Lane.LOCAL, ["a", "--force"], "a", force=True)
    assert not asked("--local", "--", "a", "--force").force


def test_dashes_of_other_commands_are_their_own() -> None:
    words = ["submit", "m", "--", "--local"]
    assert split(words) == (words, ())


@pytest.mark.parametrize(
    ("command", "label"), [("/opt/bin/sweep.sh", "sweep.sh"), ("a\nb", "ab"), ("\n", "command"), ("x" * 99, "x" * 80)]
)
def test_what_has_no_label_is_called_like_its_program(command: str, label: str) -> None:
    assert asked("--local", "--", command).label == label


@pytest.mark.parametrize(
    "words", [("--", "a"), ("--local",), ("--local", "--"), ("--local", "a"), ("--local", "--memory", "x", "--", "a")]
)
def test_a_wrong_line_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        asked(*words)
