"""The grammar of the commands that ask a running foreman."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from foreman.core.job import JobState

Parser = TypeVar("Parser", bound=argparse.ArgumentParser)

ASKING: Final = frozenset(
    (
        "submit",
        "pull",
        "status",
        "top",
        "queue",
        "pause",
        "resume",
        "doctor",
        *(f"jobs {word}" for word in ("list", "show", "watch", "cancel", "retry", "override")),
    )
)

EXIT_STATUSES: Final = """\
exit status:
  0  it went well; a job that was followed is done
  1  a job that was followed failed
  2  the command line is wrong
  3  no foreman answers
  4  foreman refused: no such job, already finished, queue full, wrong key
  5  a job that was followed was cancelled
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a command asks of foreman."""

    command: str
    url: str | None = None
    as_json: bool = False
    jobs: Sequence[str] = ()
    filters: dict[str, str] = field(default_factory=dict)
    limit: int = 20
    model: str | None = None
    prompt: Sequence[str] = ()
    path: str | None = None
    body: Path | None = None
    not_before: str | None = None
    wait: bool = False
    models: Sequence[str] = ()
    insecure: bool = False
    force: bool = False
    forecast: bool = False


def add_commands(
    commands: "argparse._SubParsersAction[Parser]",
    command: Callable[["argparse._SubParsersAction[Parser]", str, str, str], argparse.ArgumentParser],
) -> None:
    """Add them to the parser; `command(commands, word, name, summary)` makes one."""
    submit = command(commands, "submit", "submit", "hand a job over and come back for it later")
    submit.add_argument("model", nargs="?", metavar="MODEL", help="the model to ask")
    submit.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask; from standard input where left out")
    submit.add_argument("--path", metavar="PATH", help="send a body of your own to this route, such as /api/chat")
    submit.add_argument("--body", type=Path, metavar="FILE", help="the JSON body for --path; - is standard input")
    submit.add_argument("--not-before", metavar="WHEN", help="a time such as 2026-01-31T22:00, or seconds from now")
    submit.add_argument("--wait", action="store_true", help="follow the job and print its answer")
    submit.add_argument("--force", action="store_true", help="load the model though the gate would hold it")
    _common(submit)

    pull = command(commands, "pull", "pull", "fetch models, one after the other, when nothing else runs")
    pull.add_argument("models", nargs="+", metavar="MODEL")
    pull.add_argument("--force", action="store_true", help="pull though the gate would hold it, or the disk gets full")
    pull.add_argument("--insecure", action="store_true", help="let the target fetch from a registry without TLS")
    _common(pull)

    jobs = commands.add_parser("jobs", help="look at jobs, follow, cancel and retry them, let them past the gate")
    kinds = jobs.add_subparsers(metavar="COMMAND", required=True, title="commands")
    listed = command(kinds, "list", "jobs list", "the newest jobs")
    states = ", ".join(JobState)
    listed.add_argument("--state", metavar="STATE", help=f"one or more of {states}; separated by commas")
    listed.add_argument("--model", metavar="NAME", dest="of_model")
    listed.add_argument("--client", metavar="TEXT", help="as the list shows it")
    listed.add_argument("--since", metavar="TIME", help="created since a time such as 2026-01-31T12:00")
    listed.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many (default: 20)")
    _common(listed)
    for word, summary in (
        ("show", "everything that is known of a job"),
        ("watch", "follow a job to its end"),
        ("cancel", "cancel jobs, wherever they stand"),
        ("retry", "submit a failed or cancelled job's request again"),
        ("override", "let jobs that wait already past the gate"),
    ):
        one = command(kinds, word, f"jobs {word}", summary)
        one.add_argument("jobs", nargs="+" if word in ("cancel", "override") else 1, metavar="ID")
        _common(one)

    _common(command(commands, "status", "status", "how foreman is, what runs and waits, what the machine has left"))
    _common(command(commands, "top", "top", "the same, live, with keys to cancel, pause and resume"))

    for word, summary in (
        ("queue", "what runs, and what waits in the order in which it will run"),
        ("pause", "begin no further job until `foreman resume`; the running one ends as always"),
        ("resume", "go on after a pause"),
    ):
        _common(command(commands, word, word, summary))

    doctor = command(commands, "doctor", "doctor", "what is wrong around foreman, and what to do about it")
    doctor.add_argument(
        "--forecast", action="store_true", help="instead: what was expected of past loads, and what they took"
    )
    _common(doctor)


def asked(given: dict[str, object]) -> Ask:
    """What the parser found."""
    filters = {"state": "state", "of_model": "model", "client": "client", "since": "since"}
    return Ask(
        filters={name: str(given[key]) for key, name in filters.items() if given.get(key) is not None},
        **{name: given[name] for name in Ask.__slots__ if name in given and name != "filters"},  # type: ignore[arg-type]
    )


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON, as foreman answers it")
    parser.add_argument("--url", metavar="URL", help="where foreman is (else FOREMAN_URL, or where it listens here)")
    parser.add_argument("--config", dest="config_path", type=Path, metavar="FILE", help="read settings from this file")
    parser.add_argument(
        "--api-key-file", default=argparse.SUPPRESS, metavar="FILE", help="the key that foreman asks for"
    )
    parser.epilog = EXIT_STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)
