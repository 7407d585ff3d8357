"""The grammar of `foreman keys`."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from foreman.core.access import USUAL, Scope, read_label, read_scopes, shown_scopes

Parser = TypeVar("Parser", bound=argparse.ArgumentParser)
T = TypeVar("T")

KEYS: Final = frozenset({"keys create", "keys list", "keys revoke"})
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PERIOD: Final = re.compile(r"([0-9]{1,6})([smhdw])")
SCOPES: Final = """\
scopes:
  infer   chats, completions, embeddings, slots; its own jobs
  read    models, the queue, the machine, metrics
  manage  pull, create, copy, push and delete models, pause, unknown routes
  admin   everything: all jobs, and keys
"""


@dataclass(frozen=True, slots=True)
class KeysAsk:
    """What is asked about keys. `expires` is seconds from now."""

    command: str
    url: str | None = None
    as_json: bool = False
    label: str = ""
    scopes: frozenset[Scope] = USUAL
    expires: int | None = None
    key: str = ""
    forget: bool = False


def add_keys(
    commands: "argparse._SubParsersAction[Parser]",
    command: Callable[["argparse._SubParsersAction[Parser]", str, str, str], argparse.ArgumentParser],
    add_settings: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add them to the parser; `command` makes one, `add_settings` adds what says where the database is."""
    kinds = commands.add_parser("keys", help="who may use foreman").add_subparsers(
        metavar="COMMAND", required=True, title="commands"
    )
    create = command(kinds, "create", "keys create", "make a key; it is shown this once")
    create.add_argument("--label", type=_said(read_label), default="", metavar="TEXT", help="what it is for")
    usual = shown_scopes(USUAL)
    create.add_argument(
        "--scopes", type=_said(_scopes), default=USUAL, metavar="LIST", help=f"what it may (default: {usual})"
    )
    create.add_argument("--expires", type=_period, metavar="TIME", help="from now: 90d, 12h (default: never)")
    create.epilog = SCOPES
    create.formatter_class = argparse.RawDescriptionHelpFormatter
    listed = command(kinds, "list", "keys list", "all keys, and what was done for each")
    revoke = command(kinds, "revoke", "keys revoke", "have a key let nobody in any more")
    revoke.add_argument("key", metavar="ID")
    revoke.add_argument(
        "--forget", action="store_true", help="delete a revoked key; without any left, nobody here is asked for one"
    )
    for parser in (create, listed, revoke):
        parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
        parser.add_argument("--url", metavar="URL", help="a foreman elsewhere (else the one of the database)")
        add_settings(parser)
        parser.add_argument(
            "--api-key-file", default=argparse.SUPPRESS, metavar="FILE", help="a key that may make keys, for --url"
        )


def to_keys(given: dict[str, object]) -> KeysAsk:
    """What the parser found."""
    return KeysAsk(**{name: given[name] for name in KeysAsk.__slots__ if name in given})  # type: ignore[arg-type]


def _scopes(text: str) -> frozenset[Scope]:
    return read_scopes(text.split(","))


def _said(read: Callable[[str], T]) -> Callable[[str], T]:
    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def _period(text: str) -> int:
    match = _PERIOD.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"must be a time from now such as 90d, 12h or 30m, not {text[:40]!r}")
    return int(match[1]) * _SECONDS[match[2]]
