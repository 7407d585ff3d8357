"""What may be said on the command line: the commands, their flags and what is refused at once."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.parts.run import PARTS
from bench.parts.workloads import WORKLOADS
from bench.scale import FULL
from bench.soak.plan import Plan

ALL: Final = "all"
LOAD: Final = "load"
REPORT: Final = "report"
SOAK: Final = "soak"
EPILOG: Final = "Flags alone belong to a run of everything: see python -m bench all --help."


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """What was asked for; `command` says which one. Leaves with status 2 where it makes no sense."""
    alone = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    return _parser().parse_args([ALL, *argv] if alone else list(argv))


def _parser() -> argparse.ArgumentParser:
    about = "What foreman costs, and what it saves. Without a command: all but load."
    parser = argparse.ArgumentParser(prog="python -m bench", description=about, epilog=EPILOG)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    _add_run(commands.add_parser(ALL, help="all the parts below", description="All the parts."), tuple(PARTS))
    for name, part in PARTS.items():
        _add_run(commands.add_parser(name, help=part.shows, description=_sentence(part.shows)), (name,))
    shows = "put a server under load"
    _add_load(commands.add_parser(LOAD, help=shows, description=_sentence(shows)))
    shows = "foreman under a mixed load with restarts: what it holds must stay as it was"
    _add_soak(commands.add_parser(SOAK, help=shows, description=_sentence(shows)))
    shows = "the tables of an earlier run, in Markdown"
    _add_report(commands.add_parser(REPORT, help=shows, description=_sentence(shows)))
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_run(parser: argparse.ArgumentParser, parts: tuple[str, ...]) -> None:
    parser.set_defaults(parts=parts, only=None, seconds=None)
    parser.add_argument("--quick", action="store_true", help="a little of it: shows that it works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record of the run there")
    rounds = f"default: {FULL.rounds}; {FULL.few_rounds} of the long parts"
    parser.add_argument("--rounds", type=_count, metavar="N", help=rounds)
    if "overhead" not in parts:
        return
    of = "" if len(parts) == 1 else " of the overhead part"
    turn = f"of a turn{of}, default: {FULL.seconds:g}"
    parser.add_argument("--seconds", type=_seconds, metavar="S", help=turn)
    names = [workload.name for workload in WORKLOADS]
    only = f"this workload{of}, can be given again: {', '.join(names)}"
    parser.add_argument("--only", action="append", choices=names, metavar="WORKLOAD", help=only)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="http://127.0.0.1:11435", help="default: %(default)s")
    parser.add_argument("--model", required=True, metavar="NAME")
    parser.add_argument("--clients", type=_count, default=4, metavar="N", help="at once, default: %(default)s")
    parser.add_argument("--requests", type=_count, default=20, metavar="N", help="of all clients, default: %(default)s")
    parser.add_argument("--seconds", type=_seconds, default=600.0, metavar="S", help="give up then, default: 600")
    parser.add_argument("--stream", action="store_true", help="ask for streamed answers")
    parser.add_argument("--plot", type=_picture, metavar="FILE", help="draw histograms into this SVG file")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="the key that the server asks for")
    parser.add_argument("--yes", action="store_true", help="also when the host is not this machine")


def _add_soak(parser: argparse.ArgumentParser) -> None:
    usual = Plan()
    parser.add_argument("--seconds", type=_seconds, default=usual.seconds, metavar="S", help="default: %(default)g")
    parser.add_argument("--clients", type=_count, default=usual.clients, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=_count, default=usual.seed, metavar="N", help="of the clients' dice")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what --json wrote")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put them into their place in this page")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text!r}")
    return value


def _picture(text: str) -> Path:
    if not text.lower().endswith(".svg"):
        raise argparse.ArgumentTypeError(f"the picture is an SVG, and its name must end so: {text!r}")
    return Path(text)
