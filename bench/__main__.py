"""`python -m bench`: what foreman adds to a request; `python -m bench load`: put any server under load."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import orjson

from bench.client import AnswerVoid
from bench.figures import Turn, figures, table
from bench.load import Plan, load, refusal, report
from bench.machine import description
from bench.rounds import WORKLOADS, measure
from bench.subjects import running
from foreman.cli.serve import loop_factory
from foreman.core.errors import StartupError

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the two and return the exit status."""
    options = _parser().parse_args(argv)
    try:
        return _load(options) if options.command == "load" else _overhead(options)
    except (StartupError, AnswerVoid) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What foreman adds to a request.")
    parser.set_defaults(command="overhead")
    parser.add_argument("--rounds", type=_count, default=5, metavar="N", help="default: 5")
    parser.add_argument("--requests", type=_count, default=100, metavar="N", help="of each client, default: 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and the machine there")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    load = commands.add_parser("load", help="put a server under load", description="Put a server under load.")
    load.set_defaults(command="load")
    load.add_argument("--url", default="http://127.0.0.1:11435", help="default: http://127.0.0.1:11435")
    load.add_argument("--model", required=True, metavar="NAME")
    load.add_argument("--clients", type=_count, default=4, metavar="N", help="default: 4")
    load.add_argument("--requests", type=_count, default=20, metavar="N", help="of all clients, default: 20")
    load.add_argument("--seconds", type=float, default=600.0, metavar="S", help="give up after so long, default: 600")
    load.add_argument("--stream", action="store_true", help="ask for streamed answers")
    load.add_argument("--yes", action="store_true", help="also when the host is not this machine")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        return runner.run(work)


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
    result = _run(load(plan))
    print(report(plan, result))
    return 0 if len(result.total) == plan.requests else 1


def _overhead(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="foreman-bench-") as name:
        folder = Path(name)
        machine = description(folder)
        turns = _run(_measured(folder, options))
    rows = figures(turns)
    print(table(rows))
    print()
    print(f"p50 of {options.requests} requests a client; medians of {options.rounds} rounds, ratios (least to most)")
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average']:.1f} at the start")
    print(f"fsync {machine['fsync_us']} us; Python {machine['python']}; commit {machine['commit']}")
    if options.json:
        settings = {"rounds": options.rounds, "requests": options.requests}
        settings["workloads"] = [{"name": w.name, "clients": w.clients, "delay": w.delay} for w in WORKLOADS]
        found = {"machine": machine, "settings": settings, "turns": list(map(asdict, turns))}
        found["figures"] = list(map(asdict, rows))
        options.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return 0


async def _measured(folder: Path, options: argparse.Namespace) -> list[Turn]:
    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    async with running(folder) as subjects:
        turns = await measure(subjects, options.rounds, options.requests, say)
    say("")
    return turns


if __name__ == "__main__":
    sys.exit(main())
