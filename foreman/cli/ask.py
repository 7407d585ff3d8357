"""The commands that ask a running foreman. What was asked for goes to stdout, talk to stderr."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from foreman.cli import forecasttext, jobtext
from foreman.cli.api import Api, Json, job_path
from foreman.cli.client_flags import Ask
from foreman.cli.doctor import as_json, examine, lines
from foreman.cli.pull import Pull
from foreman.cli.status import look, screen
from foreman.cli.submission import submission, zoned
from foreman.cli.table import Cell, table
from foreman.cli.terminal import Piece, paint, printable, screen_columns, wants_colour, writable
from foreman.cli.top import top
from foreman.cli.watch import Watch, exit_status
from foreman.config import URL_ENV, Configured
from foreman.core.diagnosis import Level
from foreman.core.errors import ConfigError, Refused
from foreman.core.pulls import PullRequest
from foreman.keyfile import read_api_key
from foreman.settings import Settings

PAGE: Final = 500
# Where lines end that no terminal cuts.
WIDE: Final = 120


@dataclass(frozen=True, slots=True)
class Output:
    """Where things go. A terminal gets colours, and lines that fit it."""

    out: TextIO
    talk: TextIO
    environ: Mapping[str, str]

    def table(self, head: tuple[str, ...], rows: list[Any]) -> None:
        columns = screen_columns(self.out)
        self.print(table(head, rows, columns=columns, colour=wants_colour(self.out, self.environ)))

    def page(self, rows: list[tuple[str, Cell]]) -> None:
        room = max(len(name) for name, _ in rows)
        colour = wants_colour(self.out, self.environ)
        for name, cell in rows:
            value = Piece(cell) if isinstance(cell, str) else cell
            safe = Piece(printable(value.text), value.style)
            self.print(paint([Piece(f"{name:<{room}}  ", "dim"), safe], colour))

    def json(self, value: object) -> None:
        self.out.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        self.out.flush()

    def print(self, text: str) -> None:
        print(writable(text, self.out), file=self.out, flush=True)

    def say(self, text: str) -> None:
        print(writable(text, self.talk), file=self.talk, flush=True)


def run(ask: Ask, configured: Configured, environ: Mapping[str, str] = os.environ) -> int:
    """Do what a command asks and return the exit status. Raises NotReached, Refused and ConfigError."""
    output = Output(sys.stdout, sys.stderr, environ)
    return asyncio.run(_run(ask, *address(ask.url, configured, environ), output, configured.settings))


def address(named: str | None, configured: Configured, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Where foreman is, and the key it asks for. Raises ConfigError."""
    settings = configured.settings
    key = None if settings.api_key_file is None else read_api_key(settings.api_key_file)
    url = named or environ.get(URL_ENV) or settings.listen.url
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"the URL of foreman must begin with http:// or https://, not {url!r}")
    return url, key


async def _run(ask: Ask, url: str, key: str | None, output: Output, settings: Settings) -> int:
    async with Api(url, key) as api:
        if ask.command == "doctor" and not ask.forecast:
            return await _doctor(ask, api, output, settings)
        return await _COMMANDS[ask.command](ask, api, output)


async def _submit(ask: Ask, api: Api, output: Output) -> int:
    job = await api.ask("POST", "/jobs", body=await submission(ask, api))
    if not ask.wait:
        if ask.as_json:
            output.json(job)
        else:
            output.print(job["id"])
        return 0
    output.say(f"job {job['id']}")
    watch = Watch(api, job["id"], output.talk, output.environ, answer=None if ask.as_json else output.out)
    return _ended(await watch.run(), ask, output, quiet=True)


async def _pull(ask: Ask, api: Api, output: Output) -> int:
    """Each model in turn, also after one that failed; the status is that of the first that did."""
    statuses = []
    for model in ask.models:
        lines = output.out if ask.as_json else None
        try:
            asked = PullRequest(model, ask.insecure)
            statuses.append(await Pull(api, asked, output.talk, output.environ, lines, force=ask.force).run())
        except Refused as error:
            output.say(f"foreman: {printable(model)}: {printable(str(error))}")
            statuses.append(4)
    return next(filter(None, statuses), 0)


async def _list(ask: Ask, api: Api, output: Output) -> int:
    query = {**ask.filters}
    if "since" in query:
        query["since"] = zoned(query["since"])
    jobs: list[Json] = []
    while len(jobs) < ask.limit:
        page = await api.ask("GET", "/jobs", query={**query, "limit": str(min(PAGE, ask.limit - len(jobs)))})
        jobs += page["jobs"]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    if ask.as_json:
        output.json({"jobs": jobs})
    elif jobs:
        now = datetime.now(UTC)
        output.table(jobtext.LIST_HEAD, [jobtext.list_row(job, now) for job in jobs])
    else:
        output.say("no jobs" + (" like that" if ask.filters else ""))
    return 0


async def _show(ask: Ask, api: Api, output: Output) -> int:
    _print_job(await api.job(ask.jobs[0]), ask, output)
    return 0


def _print_job(job: Json, ask: Ask, output: Output) -> None:
    if ask.as_json:
        output.json(job)
        return
    output.page(jobtext.page(job))
    if any(attempt["error"] for attempt in job["history"]) or len(job["history"]) > 1:
        output.print("")
        output.table(jobtext.ATTEMPT_HEAD, [jobtext.attempt_row(attempt) for attempt in job["history"]])


async def _watch(ask: Ask, api: Api, output: Output) -> int:
    return _ended(await Watch(api, ask.jobs[0], output.talk, output.environ).run(), ask, output)


def _ended(job: Json, ask: Ask, output: Output, *, quiet: bool = False) -> int:
    if ask.as_json:
        output.json(job)
    elif not quiet:
        output.print(f"{job['id']} {job['state']}")
    return exit_status(job["state"])


async def _cancel(ask: Ask, api: Api, output: Output) -> int:
    answers = [await api.ask("DELETE", job_path(job)) for job in ask.jobs]
    if ask.as_json:
        output.json(answers[0] if len(answers) == 1 else answers)
        return 0
    for job in answers:
        output.say(f"job {job['id']} is {'cancelled' if job['state'] == 'cancelled' else 'being cancelled'}")
    return 0


async def _retry(ask: Ask, api: Api, output: Output) -> int:
    job = await api.ask("POST", job_path(ask.jobs[0]) + "/retry")
    if ask.as_json:
        output.json(job)
    else:
        output.print(job["id"])
    return 0


async def _override(ask: Ask, api: Api, output: Output) -> int:
    body = {"override": "gate"}
    answers = [await api.ask("PUT", job_path(job) + "/override", body=body) for job in ask.jobs]
    if ask.as_json:
        output.json(answers[0] if len(answers) == 1 else answers)
        return 0
    for job in answers:
        output.say(f"job {job['id']} overrides the gate")
    return 0


async def _status(ask: Ask, api: Api, output: Output) -> int:
    seen = await look(api)
    if ask.as_json:
        output.json(seen.as_json())
        return 0
    colour = wants_colour(output.out, output.environ)
    for line in screen(seen, columns=screen_columns(output.out), colour=colour):
        output.print(line)
    return 0


async def _top(ask: Ask, api: Api, output: Output) -> int:
    if ask.as_json:
        raise ConfigError("foreman top is for people; foreman status --json is for programs")
    return await top(api, output.out, output.environ)


async def _queue(ask: Ask, api: Api, output: Output) -> int:
    _print_queue(await api.ask("GET", "/queue"), ask, output)
    return 0


def _print_queue(queue: Json, ask: Ask, output: Output) -> None:
    if ask.as_json:
        output.json(queue)
        return
    rows = jobtext.queue_rows(queue, datetime.now(UTC))
    if rows:
        output.table(jobtext.QUEUE_HEAD, rows)
    hidden = queue["depth"] - len(queue["waiting"]) - len(queue["delayed"])
    if hidden > 0:
        output.say(f"and {hidden} more")
    if queue["paused"]:
        output.say("the queue is paused: foreman resume goes on")
    elif not rows:
        output.say("nothing runs and nothing waits")


async def _pause(ask: Ask, api: Api, output: Output) -> int:
    queue = await api.ask("POST", "/queue/pause")
    if ask.as_json:
        output.json(queue)
    else:
        running = [job["id"] for lane in queue["lanes"].values() for job in lane["running"]]
        ends = f"; job {', '.join(running)} ends as always" if running else ""
        output.say(f"the queue is paused{ends}")
    return 0


async def _resume(ask: Ask, api: Api, output: Output) -> int:
    queue = await api.ask("POST", "/queue/resume")
    if ask.as_json:
        output.json(queue)
    else:
        output.say(f"the queue goes on, {queue['depth']} jobs wait")
    return 0


async def _doctor(ask: Ask, api: Api, output: Output, settings: Settings) -> int:
    found = await examine(settings, api, output.environ)
    if ask.as_json:
        output.json(as_json(found))
    else:
        colour = wants_colour(output.out, output.environ)
        for line in lines(found, screen_columns(output.out) or WIDE):
            output.print(paint(line, colour).rstrip())
    return 1 if any(one.level is Level.BAD for one in found) else 0


async def _forecasts(ask: Ask, api: Api, output: Output) -> int:
    told = await api.ask("GET", "/machine/forecasts")
    if ask.as_json:
        output.json(told)
    elif told["forecasts"]:
        output.table(forecasttext.HEAD, [forecasttext.row(load) for load in told["forecasts"]])
        output.print(forecasttext.summary(told["forecasts"]))
    else:
        output.say("no load was looked at yet")
    return 0


_COMMANDS: Final[dict[str, Callable[[Ask, Api, Output], Awaitable[int]]]] = {
    "submit": _submit,
    "pull": _pull,
    "jobs list": _list,
    "jobs show": _show,
    "jobs watch": _watch,
    "jobs cancel": _cancel,
    "jobs retry": _retry,
    "jobs override": _override,
    "status": _status,
    "top": _top,
    "queue": _queue,
    "pause": _pause,
    "resume": _resume,
    "doctor": _forecasts,
}
