"""The help as a short manual: commands in groups, and to each a sentence more, examples and its exit statuses.

The grammar itself is made elsewhere; `bind` adds to a finished one what people read, which is in manual_pages.py.
"""

import argparse
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from foreman.cli.manual_pages import ABOUT, ALL, FOOT, GROUPS, PAGES, START, Page

COLUMNS: Final = 80
# Where the names of commands begin, and what is said of them.
MARGIN: Final = 2
ROOM: Final = 12


class Formatter(argparse.RawDescriptionHelpFormatter):
    """On at most 80 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(shutil.get_terminal_size().columns, COLUMNS) - 2)


def bind(whole: argparse.ArgumentParser) -> None:
    """Have the grammar's own help read as a manual."""
    commands = _commands(whole)
    whole.formatter_class = Formatter
    whole.usage = "foreman COMMAND ..."
    whole.description = "\n".join((_filled(ABOUT), "", *_groups(_summaries(commands))))
    whole.epilog = "\n".join((*_examples(START), "", *_statuses(ALL), "", _filled(FOOT)))
    # The groups stand in its place.
    commands.help = argparse.SUPPRESS
    for parser in _leaves(whole):
        _bind(parser, PAGES.get(parser.get_default("command"), Page()))


def _bind(parser: argparse.ArgumentParser, page: Page) -> None:
    parser.formatter_class = Formatter
    parser.description = _filled(f"{parser.description} {page.more}".strip())
    own = (parser.epilog or "").rstrip()
    blocks = ["\n".join(_examples(page.examples)), own]
    if "exit status:" not in own:
        blocks.append("\n".join(_statuses(page.statuses)))
    parser.epilog = "\n\n".join(filter(None, blocks))


def _groups(summaries: Mapping[str, str]) -> Iterator[str]:
    for number, (group, names) in enumerate(GROUPS.items()):
        there = [name for name in names if name in summaries]
        if there:
            yield from ([""] if number else [])
            yield f"{group}:"
        for name in there:
            yield textwrap.fill(
                summaries[name],
                COLUMNS - 2,
                initial_indent=f"{'':<{MARGIN}}{name:<{ROOM - MARGIN}}",
                subsequent_indent=" " * ROOM,
            )


def _examples(examples: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Each with what it is for, beside it where all fit, else below."""
    if not examples:
        return
    yield "examples:"
    room = max(len(command) for command, _ in examples)
    beside = [f"  {command:<{room}}  {purpose}".rstrip() for command, purpose in examples]
    if all(len(line) <= COLUMNS - 2 for line in beside):
        yield from beside
        return
    for command, purpose in examples:
        yield from (f"  {command}", *([f"      {purpose}"] if purpose else []))


def _statuses(statuses: Mapping[int, str]) -> Iterator[str]:
    yield "exit status:"
    room = max(len(str(status)) for status in statuses)
    for status, words in statuses.items():
        yield f"  {status:<{room}}  {words}"


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS - 2)


def _commands(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[Any]":
    found = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return next(found)


def _summaries(commands: "argparse._SubParsersAction[Any]") -> Mapping[str, str]:
    """argparse tells nobody what it was given."""
    return {action.dest: action.help or "" for action in commands._choices_actions}  # noqa: SLF001


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands themselves, whatever stands above them."""
    if parser.get_default("command") is not None:
        yield parser
        return
    parser.formatter_class = Formatter
    for below in dict.fromkeys(_commands(parser).choices.values()):
        yield from _leaves(below)
