"""The command line's grammar. The flags of the settings follow from `Settings`; nothing is written down twice.

What a flag's text means is decided in `config.load`, in one place with the environment and the file.
"""

import argparse
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from foreman import __version__
from foreman.cli import manual
from foreman.cli.client_flags import ASKING, Ask, add_commands, asked
from foreman.cli.key_flags import KEYS, KeysAsk, add_keys, to_keys
from foreman.cli.run_flags import RUN, RunAsk, add_run, split, to_run
from foreman.config import did_you_mean
from foreman.core.errors import ConfigError
from foreman.kinds import SWITCH
from foreman.settings import SETTINGS, Setting, Settings

_ALL: Final = frozenset(entry.name for entry in SETTINGS)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was asked for: a command, the flags given as text by setting name, and the commands' own switches."""

    command: str
    values: Mapping[str, str]
    config_path: Path | None = None
    stub_if_absent: bool = False
    as_json: bool = False
    ask: Ask | None = None
    run: RunAsk | None = None
    file: Path | None = None
    keys: KeysAsk | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = "; a value that begins with - is written --flag=VALUE" if "expected one argument" in message else ""
        raise ConfigError(f"{message}{hint}; see {self.prog} --help")


def parse(argv: Sequence[str]) -> CommandLine:
    """Read the command line. Raises ConfigError; --help and --version print and raise SystemExit."""
    argv, program = split(argv)
    found, extra = parser().parse_known_args(argv)
    if extra:
        word = extra[0].partition("=")[0]
        known = ("--config", "--stub-if-absent", "--json", *(entry.flag for entry in SETTINGS))
        is_flag = word.startswith("--")
        client = found.command in ASKING or found.command == RUN
        hint = f"; see foreman {found.command} --help" if client else did_you_mean(word, known)
        raise ConfigError(f"unknown flag {word}{hint}" if is_flag else f"unexpected {word!r}")
    given = vars(found)
    return CommandLine(
        command=given["command"],
        values={entry.name: given[entry.name] for entry in SETTINGS if entry.name in given},
        config_path=given.get("config_path"),
        stub_if_absent=given.get("stub_if_absent", False),
        as_json=given.get("as_json", False),
        ask=asked(given) if given["command"] in ASKING else None,
        run=to_run(given, program) if given["command"] == RUN else None,
        file=given.get("file"),
        keys=to_keys(given) if given["command"] in KEYS else None,
    )


def parser() -> argparse.ArgumentParser:
    """All of the grammar."""
    whole = _Parser(prog="foreman", allow_abbrev=False)
    whole.add_argument("--version", action="version", version=f"foreman {__version__}")
    commands = whole.add_subparsers(metavar="COMMAND", required=True, title="commands")

    serve = _command(commands, "serve", "serve", "serve clients, and work the queue off")
    serve.add_argument(
        "--stub-if-absent",
        action="store_true",
        help="start the bundled stub as the target when none answers at the target's address",
    )
    _add_settings(serve)

    _command(commands, "demo", "demo", "show it at work: a dozen clients, a kill -9, a restart (on a stub)")

    add_commands(commands, _command)
    add_run(commands, _command)
    add_keys(commands, _command, lambda parser: _add_settings(parser, ("db",)))

    backup = _command(commands, "backup", "backup", "write a copy of the database to a file, also while foreman runs")
    backup.add_argument("file", type=Path, metavar="FILE", help="a file that is not there yet")
    _add_settings(backup, ("db",))
    restore = _command(
        commands, "restore", "restore", "put a copy in the place of the database, while foreman is stopped"
    )
    restore.add_argument("file", type=Path, metavar="FILE", help="a file that `foreman backup` made")
    _add_settings(restore, ("db",))

    config = commands.add_parser("config", help="show every setting, its value and where that comes from")
    show = _command(
        config.add_subparsers(metavar="COMMAND", required=True, title="commands"),
        "show",
        "config show",
        "print every setting with its value and where that comes from",
    )
    show.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    _add_settings(show)
    for command, own in ((serve, "[--stub-if-absent]"), (show, "[--json]")):
        command.usage = f"{command.prog} {own} [--config FILE] [--SETTING VALUE ...]"
    manual.bind(whole)
    return whole


def _command(
    commands: "argparse._SubParsersAction[_Parser]", name: str, command: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".", allow_abbrev=False)
    parser.set_defaults(command=command)
    return parser


def _add_settings(parser: argparse.ArgumentParser, names: Container[str] = _ALL) -> None:
    parser.add_argument("--config", dest="config_path", type=Path, metavar="FILE", help="read settings from this file")
    group = parser.add_argument_group("settings", "Also as environment variables and in the file; a flag wins.")
    defaults = Settings()
    for entry in (entry for entry in SETTINGS if entry.name in names):
        is_switch = entry.meta.kind is SWITCH
        group.add_argument(
            entry.flag,
            dest=entry.name,
            default=argparse.SUPPRESS,
            nargs="?" if is_switch else None,
            const="true" if is_switch else None,
            metavar="|".join(entry.meta.kind.choices) or entry.meta.kind.unit.upper().replace(" ", "_"),
            help=_help(entry, getattr(defaults, entry.name)),
        )


def _help(entry: Setting, default: object) -> str:
    return f"{entry.meta.meaning} (default: {entry.meta.default_text or entry.show(default)})".replace("%", "%%")
