"""The grammar of `foreman run`. What follows the first `--` is the command, and nothing of it is looked at."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from foreman.core import slots, units
from foreman.core.errors import ConfigError
from foreman.core.lanes import Lane

Parser = TypeVar("Parser", bound=argparse.ArgumentParser)

RUN: Final = "run"

EXIT_STATUSES: Final = """\
exit status:
  that of the command, or 128 and the number of the signal that ended it; without it:
  2    the command line is wrong
  3    no foreman answers
  4    foreman refused: queue full, wrong key, more memory than there is
  5    it was cancelled while it waited
  126  the command cannot be executed
  127  there is no such command
  130  interrupted while it waited
"""


@dataclass(frozen=True, slots=True)
class RunAsk:
    """A command and the slot it is to have; `memory` is bytes, `expiry` seconds."""

    lane: Lane
    command: Sequence[str]
    label: str
    memory: int | None = None
    expiry: float | None = None
    url: str | None = None
    force: bool = False


def split(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """foreman's own words, and the command behind them."""
    if RUN not in argv[:1] or "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def add_run(
    commands: "argparse._SubParsersAction[Parser]",
    command: Callable[["argparse._SubParsersAction[Parser]", str, str, str], argparse.ArgumentParser],
) -> None:
    """Add it to the parser; `command(commands, word, name, summary)` makes one."""
    parser = command(commands, RUN, RUN, "run a command when its lane has a free slot")
    parser.usage = "foreman run (--local | --remote) [--label TEXT] [--memory SIZE] [--force] -- COMMAND ..."
    lanes = parser.add_mutually_exclusive_group(required=True)
    lanes.add_argument(
        "--local", dest="lane", action="store_const", const=Lane.LOCAL, help="alone on this machine, as a model is"
    )
    lanes.add_argument(
        "--remote", dest="lane", action="store_const", const=Lane.REMOTE, help="beside other remote work"
    )
    parser.add_argument("--label", metavar="TEXT", help="what lists call it (else the command's name)")
    parser.add_argument("--memory", type=_size, metavar="SIZE", help="what it will take, such as 40GB")
    parser.add_argument("--force", action="store_true", help="run it though the machine has other things to do")
    parser.add_argument(
        "--expiry", type=float, metavar="SECONDS",
        help=f"how long it may not be heard of until its slot is freed (default: {slots.EXPIRY_SECONDS:g})",
    )  # fmt: skip
    parser.add_argument("--url", metavar="URL", help="where foreman is (else FOREMAN_URL, or where it listens here)")
    parser.add_argument("--config", dest="config_path", type=Path, metavar="FILE", help="read settings from this file")
    parser.add_argument(
        "--api-key-file", default=argparse.SUPPRESS, metavar="FILE", help="the key that foreman asks for"
    )
    parser.epilog = EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def to_run(given: dict[str, Any], command: Sequence[str]) -> RunAsk:
    """What the parser found. Raises ConfigError where there is no command."""
    if not command:
        raise ConfigError("there is no command to run: write it behind --; see foreman run --help")
    label = given["label"] or "".join(sign for sign in Path(command[0]).name if sign.isprintable()).strip()
    return RunAsk(
        given["lane"], command, label[: slots.LABEL_LENGTH] or slots.UNNAMED, given["memory"], given["expiry"],
        given["url"], given["force"],
    )  # fmt: skip


def _size(text: str) -> int:
    try:
        return units.read_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {error}, not {text!r}") from error
