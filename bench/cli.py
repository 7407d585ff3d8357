"""The command line of the bench: which parts run, how much of them, and where the figures go."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.figures.pages import pictures_of, with_tables
from bench.figures.record import Record
from bench.figures.sections import sections
from bench.figures.tables import as_markdown, as_text
from bench.load.plan import Plan, refusal
from bench.load.report import plot, progress, report
from bench.load.run import Result, load
from bench.parts.run import PARTS, measured
from bench.parts.workloads import WORKLOADS
from bench.scale import FULL, QUICK, Scale
from bench.wire.connection import AnswerVoid
from foreman.cli.serve import loop_factory
from foreman.core.errors import ForemanError

ALL: Final = "all"
T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit status."""
    options = _parser().parse_args(_with_command(sys.argv[1:] if argv is None else argv))
    try:
        status: int = options.run(options)
    except (ForemanError, AnswerVoid, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    return status


def _with_command(argv: Sequence[str]) -> list[str]:
    """Flags alone are those of a run of everything."""
    alone = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    return [ALL, *argv] if alone else list(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What foreman costs, and what it saves. Without a command: all but load."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands.add_parser(ALL, help="all the parts below"), tuple(PARTS))
    for name, part in PARTS.items():
        _add_run(commands.add_parser(name, help=part.shows, description=part.shows), (name,))
    _add_load(commands.add_parser("load", help="put a server under load", description="Put a server under load."))
    shown = commands.add_parser("report", help="the tables of an earlier run, in Markdown")
    shown.add_argument("file", type=Path, metavar="FILE", help="what --json wrote")
    shown.add_argument("--into", type=Path, metavar="PAGE", help="put them into their place in this page")
    shown.set_defaults(run=_report)
    return parser


def _add_run(parser: argparse.ArgumentParser, parts: tuple[str, ...]) -> None:
    parser.add_argument(
        "--rounds", type=_count, metavar="N", help=f"default: {FULL.rounds}; {FULL.few_rounds} of the long parts"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"of a turn of the overhead part, default: {FULL.seconds:g}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a little of everything: shows that it works, not how fast"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record of the run there")
    if "overhead" in parts:
        names = [workload.name for workload in WORKLOADS]
        parser.add_argument(
            "--only",
            action="append",
            choices=names,
            metavar="WORKLOAD",
            help=f"of the overhead part: {', '.join(names)}",
        )
    parser.set_defaults(run=_run, parts=parts, only=None)


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="http://127.0.0.1:11435", help="default: http://127.0.0.1:11435")
    parser.add_argument("--model", required=True, metavar="NAME")
    parser.add_argument("--clients", type=_count, default=4, metavar="N", help="default: 4")
    parser.add_argument("--requests", type=_count, default=20, metavar="N", help="of all clients, default: 20")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="S", help="give up after so long, default: 600")
    parser.add_argument("--stream", action="store_true", help="ask for streamed answers")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw histograms into this SVG file")
    parser.add_argument("--yes", action="store_true", help="also when the host is not this machine")
    parser.set_defaults(run=_load)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def _in_loop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        return runner.run(work)


def say(text: str) -> None:
    """The one line of progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> int:
    scale = _scale(options)
    workloads = [workload for workload in WORKLOADS if not options.only or workload.name in options.only]
    with tempfile.TemporaryDirectory(prefix="foreman-bench-") as name:
        record = _in_loop(measured(Path(name), options.parts, scale, workloads, say))
    say("")
    print(as_text(sections(record)))
    if options.json:
        options.json.write_bytes(record.json())
    return 0


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else FULL
    if options.rounds:
        scale = replace(scale, rounds=options.rounds, few_rounds=options.rounds)
    return replace(scale, seconds=options.seconds) if options.seconds else scale


def _report(options: argparse.Namespace) -> int:
    file, page = options.file, options.into
    record = Record.read(file.read_bytes())
    if page is None:
        print(as_markdown(sections(record)), end="")
        return 0
    page.write_text(with_tables(page.read_text(), file.as_posix(), record, page.stem))
    for name, chart in pictures_of(record, page.stem).items():
        page.with_name(name).write_text(chart.svg())
    return 0


def _load(options: argparse.Namespace) -> int:
    plan = Plan(
        url=options.url,
        model=options.model,
        clients=options.clients,
        requests=options.requests,
        stream=options.stream,
        seconds=options.seconds,
    )
    if why := refusal(plan, options.yes):
        print(f"bench: {why}", file=sys.stderr)
        return 2

    def told(result: Result) -> None:
        say(progress(plan, result))

    result = _in_loop(load(plan, told))
    say("")
    print(report(plan, result))
    if options.plot:
        options.plot.write_text(plot(plan, result))
    return 0 if len(result.total) == plan.requests else 1
