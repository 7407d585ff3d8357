"""The command line of the bench: does what was asked for, and is the only one that prints."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
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
from bench.options import LOAD, REPORT, SOAK, parsed
from bench.parts.run import measured
from bench.parts.workloads import WORKLOADS
from bench.scale import FULL, QUICK, Scale
from bench.soak.figures import Soaked, faults, told
from bench.soak.plan import Plan as SoakPlan
from bench.soak.run import soak
from bench.wire.connection import AnswerVoid
from foreman.cli.serve import loop_factory
from foreman.cli.terminal import writable
from foreman.core.errors import ForemanError
from foreman.keyfile import read_api_key

INTERRUPTED: Final = 130
QUICK_NOTE: Final = "This was a quick run: it shows that everything works, not how fast."
T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for and return the exit status."""
    options = parsed(sys.argv[1:] if argv is None else argv)
    try:
        return _COMMANDS.get(options.command, _run)(options)
    except (ForemanError, AnswerVoid, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("")
        return INTERRUPTED


def _in_loop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        return runner.run(work)


def say(text: str) -> None:
    """The one line of progress, where somebody looks."""
    if sys.stderr.isatty():
        # A line that is too long would begin a second one at each turn.
        fitting = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[K{writable(fitting, sys.stderr)}", end="", file=sys.stderr, flush=True)


def _run(options: argparse.Namespace) -> int:
    _folder_of(options.json)
    workloads = [workload for workload in WORKLOADS if not options.only or workload.name in options.only]
    with tempfile.TemporaryDirectory(prefix="foreman-bench-") as name:
        record = _in_loop(measured(Path(name), options.parts, _scale(options), workloads, say))
    say("")
    if options.json:
        options.json.write_bytes(record.json())
    print(as_text(sections(record)))
    if options.quick:
        print(f"\n{QUICK_NOTE}")
    return 0


def _folder_of(file: Path | None) -> None:
    """Made before the work, or a wrong name would cost the work."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)


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
        key=read_api_key(options.api_key_file) if options.api_key_file else None,
    )
    if why := refusal(plan, options.yes):
        print(f"bench: {why}", file=sys.stderr)
        return 2
    _folder_of(options.plot)
    result = Result()
    status = _loaded(plan, result)
    say("")
    print(writable(report(plan, result), sys.stdout))
    if options.plot:
        options.plot.write_text(plot(plan, result))
    return status


def _loaded(plan: Plan, result: Result) -> int:
    """The exit status; who interrupts it wants to see what there is."""
    try:
        _in_loop(load(plan, result, lambda: say(progress(plan, result))))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if len(result.total) == plan.requests else 1


def _soak(options: argparse.Namespace) -> int:
    plan, soaked = SoakPlan(options.seconds, options.clients, options.seed), Soaked()
    with tempfile.TemporaryDirectory(prefix="foreman-soak-") as name:
        _in_loop(soak(plan, Path(name), soaked, say))
    say("")
    print(as_text(told(soaked)))
    wrong = faults(soaked)
    print("\n" + ("\n".join(f"WRONG: {fault}" for fault in wrong) or "All of it stayed as it was."))
    return 1 if wrong else 0


_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    LOAD: _load,
    REPORT: _report,
    SOAK: _soak,
}
