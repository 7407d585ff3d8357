"""Requests that become jobs: everything the target might run."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from foreman.core import body as bodies
from foreman.core.body import LARGE
from foreman.core.framing import Framing
from foreman.core.job import Mode
from foreman.core.prefer import preference
from foreman.core.submission import Submission, checked_key, checked_override, request_hash
from foreman.core.upkeep import PULL
from foreman.core.upstreams import named
from foreman.engine.engine import Engine
from foreman.engine.intake import Ticket
from foreman.settings import Settings
from foreman.web.admission import Inquiry, Unload, admitted, apart, check_encoding
from foreman.web.answer import Waiting, answer
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.bodies import read_body
from foreman.web.lastline import last_line
from foreman.web.passthrough import forward
from foreman.web.paths import route_path
from foreman.web.relayed import RelayedOutlet

IDEMPOTENCY_KEY = "Idempotency-Key"
OVERRIDE = "X-Foreman-Override"
# The official OpenAI SDKs say in this header how often they have sent a request before.
RETRY_COUNT = "x-stainless-retry-count"
_COUNTED: Final = re.compile(r"0*[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that has become a job, or has joined one, and how its client waits."""

    ticket: Ticket
    waiting: Waiting


async def take(inquiry: Inquiry, engine: Engine, settings: Settings) -> Taken | Unload | None:
    """Have a request become a job; None, and what `admitted` and `Engine.submit` raise, as there."""
    asked = await admitted(inquiry, engine.poller, settings)
    if asked is None or isinstance(asked, Unload):
        return asked
    # A list that comes in several lines is one list (RFC 9110, 5.3).
    wish = preference(",".join(inquiry.headers.getall("Prefer", ())))
    asked_for = overriding(asked.submission, inquiry.headers)
    submission = await apart(
        partial(repeatable, asked_for, inquiry.headers, inquiry.body), long=len(inquiry.body) > LARGE
    )
    if wish.wait == 0:
        submission = dataclasses.replace(submission, mode=Mode.DETACHED)
    waiting = Waiting(
        asked.asked,
        hold=settings.hold_seconds,
        heartbeat=settings.heartbeat_seconds,
        wish=wish,
        may_return=RETRY_COUNT in inquiry.headers,
    )
    return Taken(await engine.submit(submission), waiting)


async def queued(request: web.Request) -> web.StreamResponse:
    """One inference request, from body to answer."""
    check_encoding(request.headers)
    return await _queued(request, await read_body(request, request.app[SETTINGS].max_body_bytes))


async def embeddings(request: web.Request) -> web.StreamResponse:
    """Embeddings: a job where a remote makes them; the target's stand beside the lanes."""
    settings = request.app[SETTINGS]
    if not settings.remotes or request.headers.get("Content-Encoding", "identity") != "identity":
        return await forward(request)
    body = await read_body(request, settings.max_body_bytes)
    parsed = await apart(partial(bodies.read, body), long=len(body) > LARGE)
    if parsed is None or named(settings.remotes, parsed.model) is None:
        return await forward(request, body)
    return await _queued(request, body)


async def _queued(request: web.Request, body: bytes) -> web.StreamResponse:
    engine, settings = request.app[ENGINE], request.app[SETTINGS]
    client = client_of(request.headers, request.remote)
    taken = await take(Inquiry(route_path(request), request.headers, body, client), engine, settings)
    if taken is None:
        return await forward(request, body)
    if isinstance(taken, Unload):
        return await _unload(request, body, taken.model)
    outlet = RelayedOutlet(request)
    if taken.ticket.path == PULL and taken.waiting.asked is Framing.WHOLE:
        return await last_line(outlet, engine, taken.ticket, taken.waiting) or outlet.response
    return await answer(outlet, engine, taken.ticket, taken.waiting) or outlet.response


def overriding(submission: Submission, headers: Mapping[str, str]) -> Submission:
    """The submission with what its headers override. Raises BadRequest."""
    override = checked_override(headers.get(OVERRIDE), OVERRIDE)
    return submission if override is None else dataclasses.replace(submission, override=override)


def repeatable(submission: Submission, headers: Mapping[str, str], body: bytes) -> Submission:
    """The submission with what makes it known again when it is sent again. Raises BadRequest for a bad key."""
    key = headers.get(IDEMPOTENCY_KEY)
    count = headers.get(RETRY_COUNT)
    if key is None and count is None:
        return submission
    return dataclasses.replace(
        submission,
        idem_key=None if key is None else checked_key(key),
        hash=submission.hash or request_hash(submission.payload.path, body),
        again=submission.again or (count is not None and _COUNTED.fullmatch(count) is not None),
    )


async def _unload(request: web.Request, body: bytes, model: str) -> web.StreamResponse:
    poller = request.app[ENGINE].poller
    response = await forward(request, body)
    poller.unloaded(model)
    await poller.look()
    return response


def client_of(headers: Mapping[str, str], address: str | None) -> str:
    """Who asks, for people who read logs: the product of the User-Agent and the address."""
    product = headers.get("User-Agent", "").partition(" ")[0]
    # Bytes that are not UTF-8 arrive as lone surrogates, which no database takes.
    return f"{product} {address or ''}".strip().encode("utf-8", "replace").decode()
