"""Jobs by their id: hand in, look, wait for, cancel, try again, keep, forget."""

import dataclasses
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from foreman.core import names, ollama, upkeep
from foreman.core.errors import BadRequest, ForemanError, JobFinished, JobNotFound, TooMany
from foreman.core.job import FINISHED, Job, JobState, Mode
from foreman.core.submission import Submission, checked_override
from foreman.core.trace import carried
from foreman.core.upstreams import Claiming, named
from foreman.engine.store import JobFilter
from foreman.web.admission import Inquiry, Unload, admitted
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.bodies import read_body
from foreman.web.jobview import attempts_view, job_view
from foreman.web.openapi_schemas import ARRAY_LIMIT, HANDED_OVER
from foreman.web.queued import IDEMPOTENCY_KEY, OVERRIDE, client_of, overriding, repeatable

LIST_DEFAULT, LIST_LIMIT = 50, 500
_JSON: Final = ("Content-Type", "application/json")
_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def answer_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(status=status, headers=headers, body=body, content_type="application/json")


def job_id(request: web.Request) -> str:
    """The id in the path. Raises JobNotFound where it cannot be one."""
    text = request.match_info["id"].upper()
    if _ID.fullmatch(text) is None:
        raise JobNotFound(f"there is no job {request.match_info['id'][:64]}")
    return text


async def submit(request: web.Request) -> web.Response:
    """One job, or up to a thousand in one step. Raises BadRequest, TooMany, and what a submit raises."""
    engine, settings = request.app[ENGINE], request.app[SETTINGS]
    raw = await read_body(request, settings.max_body_bytes)
    try:
        asked = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(asked, list):
        ticket = await engine.submit(repeatable(await _submission(request, asked, ""), request.headers, raw))
        if ticket.joined and ticket.live is not None:
            await engine.detach(ticket.live)
        ticket.relay.let_go()  # nobody reads the answer of the one it has joined
        return await one_job(request, ticket.id, 202, {"Location": f"/jobs/{ticket.id}", "X-Foreman-Job": ticket.id})
    if not asked:
        raise BadRequest("the array holds no job")
    if IDEMPOTENCY_KEY in request.headers:
        raise BadRequest("Idempotency-Key stands for one job, and this is an array")
    if len(asked) > ARRAY_LIMIT:
        raise TooMany(f"an array may hold {ARRAY_LIMIT} jobs, this one holds {len(asked)}")
    submissions = [await _submission(request, entry, f"[{n}]") for n, entry in enumerate(asked)]
    lives = await engine.submit_many(submissions)
    stored = await engine.store.by_seq([live.seq for live in lives])
    return answer_json({"jobs": [job_view(stored[live.seq], engine) for live in lives if live.seq in stored]}, 202)


async def _submission(request: web.Request, entry: object, where: str) -> Submission:
    """One entry as a detached submission. Raises BadRequest naming the field."""
    engine, settings = request.app[ENGINE], request.app[SETTINGS]
    if not isinstance(entry, dict):
        raise BadRequest(f"{where or 'the body'} must be an object with path and body")
    unknown = sorted(set(entry) - {"path", "body", "not_before", "override"})
    if unknown:
        raise BadRequest(f"{_field(where, unknown[0])} is unknown; a job has path, body, not_before and override")
    path = entry.get("path")
    if path not in HANDED_OVER:
        raise BadRequest(f"{_field(where, 'path')} must be one of {', '.join(HANDED_OVER)}")
    body = entry.get("body")
    if not isinstance(body, dict):
        raise BadRequest(f"{_field(where, 'body')} must be an object: the body of a request to {path}")
    if path == ollama.V1_EMBEDDINGS and named(settings.remotes, str(body.get("model"))) is None:
        raise BadRequest(f"{_field(where, 'body.model')} must be one of a remote: embeddings of the target are no jobs")
    try:
        text = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise BadRequest(f"{_field(where, 'body')} is nested too deeply") from None
    headers = CIMultiDict((_JSON, *carried(request.headers.items())))
    inquiry = Inquiry(path, headers, text, client_of(request.headers, request.remote))
    try:
        found = await admitted(inquiry, engine.poller, settings)
    except ForemanError as error:
        raise BadRequest(f"{_field(where, 'body.model')}: {error}") from error
    if found is None:
        raise BadRequest(f"{_field(where, 'body.model')} must name a model")
    if isinstance(found, Unload):
        raise BadRequest(f"{_field(where, 'body')} only unloads a model, which is no job: send it to {path}")
    not_before = _not_before(entry.get("not_before"), where, engine.clock.time())
    override = checked_override(entry.get("override"), _field(where, "override"))
    submission = overriding(found.submission, request.headers)
    return dataclasses.replace(
        submission, mode=Mode.DETACHED, not_before=not_before, override=override or submission.override
    )


def _field(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _not_before(value: object, where: str, now: float) -> int:
    """Unix milliseconds; 0 for at once. A number is seconds from now."""
    if value is None:
        return 0
    field = _field(where, "not_before")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 366 * 86_400:
        return int((now + value) * 1000) if value else 0
    if isinstance(value, str):
        return _unix_ms(field, value)
    raise BadRequest(f"{field} must be a time such as 2026-01-31T12:00:00Z, or seconds from now within a year")


def _unix_ms(field: str, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        # There are times that are in the year 10000 in UTC, where they could not be shown.
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{field} must be a time such as 2026-01-31T12:00:00Z") from None
    return max(0, int(at.timestamp() * 1000))


async def listed(request: web.Request) -> web.Response:
    """Jobs, the newest first, a page at a time. Raises BadRequest naming the parameter."""
    engine, query = request.app[ENGINE], request.query
    known = {"state", "model", "client", "since", "limit", "after"}
    if unknown := sorted(set(query) - known):
        raise BadRequest(f"{unknown[0]} is no parameter of this list; there are {', '.join(sorted(known))}")
    limit = _number(query.get("limit"), "limit", LIST_DEFAULT, 1, LIST_LIMIT)
    after = query.get("after")
    wanted = JobFilter(
        states=_states(query.getall("state", [])),
        model=_model(query.get("model"), request.app[SETTINGS].remotes),
        client=query.get("client"),
        since=_unix_ms("since", query["since"]) if "since" in query else None,
        before=None if after is None else _number(after, "after", 0, 1, 2**62),
    )
    jobs = await engine.store.list(wanted, limit + 1)
    page = jobs[:limit]
    following = str(page[-1].seq) if len(jobs) > limit else None
    return answer_json({"jobs": await _views(request, page), "next": following})


def _states(texts: Sequence[str]) -> frozenset[JobState]:
    words = [word.strip() for text in texts for word in text.split(",")]
    try:
        return frozenset(JobState(word) for word in words)
    except ValueError:
        raise BadRequest(f"state must be one or more of {', '.join(JobState)}") from None


def _model(text: str | None, remotes: Sequence[Claiming]) -> str | None:
    if text is None or upkeep.is_upkeep(text):
        return text
    routed = named(remotes, text)
    return names.parse(text).canonical if routed is None else routed.shown


def _number(text: str | None, name: str, default: int, low: int, high: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
        raise BadRequest(f"{name} must be a whole number from {low} to {high}")
    return int(text)


async def shown(request: web.Request) -> web.Response:
    return await one_job(request, job_id(request), 200)


async def cancelled(request: web.Request) -> web.Response:
    """Cancel, wherever the job stands; or with ?forget=true delete a finished one."""
    engine, found = request.app[ENGINE], job_id(request)
    forget = request.query.get("forget", "false")
    if forget not in ("true", "false"):
        raise BadRequest("forget must be true or false")
    job = await engine.job(found)
    if forget == "true":
        if not await engine.store.forget(found):
            raise JobFinished(f"job {found} is {job.state}: only finished jobs can be forgotten")
        return web.Response(status=204)
    state = None if job.state in FINISHED else await engine.cancel(found)
    if state is None or state in (JobState.DONE, JobState.FAILED) or job.state in FINISHED:
        raise JobFinished(f"job {found} is {(await engine.job(found)).state} already")
    return await one_job(request, found, 200 if state is JobState.CANCELLED else 202)


async def retried(request: web.Request) -> web.Response:
    """The request of a failed or cancelled job again, as a new job."""
    override = checked_override(request.headers.get(OVERRIDE), OVERRIDE)
    live = await request.app[ENGINE].retry(job_id(request), override)
    return await one_job(request, live.id, 202, {"Location": f"/jobs/{live.id}", "X-Foreman-Job": live.id})


async def kept(request: web.Request) -> web.Response:
    """PUT: the job stays when its time is over. DELETE: no longer."""
    engine, found = request.app[ENGINE], job_id(request)
    if not await engine.store.keep(found, request.method == "PUT"):
        raise JobNotFound(f"there is no job {found}")
    return await one_job(request, found, 200)


async def one_job(request: web.Request, found: str, status: int, headers: dict[str, str] | None = None) -> web.Response:
    engine = request.app[ENGINE]
    view = (await _views(request, [await engine.job(found)]))[0]
    view["history"] = attempts_view(await engine.store.attempts(found))
    return answer_json(view, status, headers)


async def _views(request: web.Request, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    engine = request.app[ENGINE]
    waiting = [job.seq for job in jobs if job.state is JobState.QUEUED]
    places = await engine.forecast.places(max(waiting)) if waiting else {}
    return [job_view(job, engine, places.get(job.seq)) for job in jobs]
