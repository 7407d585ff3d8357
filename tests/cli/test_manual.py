"""The help as a whole: what must stand in it, and that it fits; the words themselves are free."""

import argparse
import re

import pytest

from foreman.cli import flags, manual
from foreman.cli.manual_pages import GROUPS, PAGES, START
from foreman.core.errors import ConfigError

WHOLE = flags.parser()
LEAVES = {str(parser.get_default("command")): parser for parser in manual._leaves(WHOLE)}
EACH = pytest.mark.parametrize("command", sorted(LEAVES))


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def blocks(text: str) -> dict[str, list[str]]:
    """Its parts by their headings."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in text.splitlines():
        if re.fullmatch(r"[a-z ]+:", line):
            heading = line[:-1]
        elif line.strip():
            found.setdefault(heading, []).append(line)
    return found


def statuses(text: str) -> list[int]:
    return [int(found[1]) for line in blocks(text)["exit status"] if (found := re.match(r"  ([0-9]+) ", line))]


def test_every_command_is_in_one_group_with_a_sentence() -> None:
    text = WHOLE.format_help()
    told = blocks(text)
    top = next(a for a in WHOLE._actions if isinstance(a, argparse._SubParsersAction)).choices
    named = [name for names in GROUPS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(top) <= set(named), "a command is in no group of the manual"
    for group, names in GROUPS.items():
        there = [name for name in names if name in top]
        assert [line.split()[0] for line in told.get(group, []) if re.match(r"  [a-z]", line)] == there
    assert all(re.search(rf"^  {name} +[a-z]", text, re.MULTILINE) for name in top)


def test_it_ends_with_examples_and_exit_statuses() -> None:
    text = WHOLE.format_help()
    assert len(blocks(text)["examples"]) == len(START)
    assert statuses(text) == [0, 1, 2, 3, 4, 5]
    assert text.index("options:") < text.index("examples:") < text.index("exit status:")


@EACH
def test_a_command_says_what_it_does_and_how_it_ends(command: str) -> None:
    text = LEAVES[command].format_help()
    assert text.startswith(f"usage: foreman {command}")
    assert re.search(r"\n\n[A-Z][^\n]+", text)
    assert {2} <= set(statuses(text)) or command == "demo"
    assert text.count("exit status:") == 1


@EACH
def test_it_fits_a_terminal_of_the_usual_size(command: str) -> None:
    whole = [*LEAVES[command].format_help().splitlines(), *WHOLE.format_help().splitlines()]
    assert [line for line in whole if len(line) > 80] == []


def test_a_narrow_terminal_narrows_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert all(len(line) <= 60 for line in blocks(LEAVES["queue"].format_help())["options"])


@EACH
def test_every_page_is_that_of_a_command_and_its_examples_are_commands(command: str) -> None:
    assert set(PAGES) <= set(LEAVES)
    page = PAGES.get(command)
    for line, _ in () if page is None else page.examples:
        told = re.sub(r"^(sudo|watch) | < .*", "", line)
        words = re.sub(r"\$\([^)]*\)", "x", told).split()
        assert words[0] == "foreman"
        try:
            assert flags.parse(words[1:]).command == command
        except ConfigError as error:
            pytest.fail(f"{line}: {error}")
