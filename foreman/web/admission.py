"""From a request to a submission: what has to be asked before anything becomes a job.

The order of questions:
1. Can its body be looked into? A compressed one cannot, and is refused where the target would have taken it.
2. Would the target refuse it too (a syntax error, no model)? Then there is nothing to admit.
3. Is the name a model, and does the target have it? If not, the API's own error, and no job.
4. Does it only ask to unload? Then it must not wait in line.
5. Otherwise it is a submission.
Upkeep is asked only the first two, and whether its name is one: what it names need not be there.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from multidict import MultiMapping

from foreman.core import body as bodies
from foreman.core import creates, multipart, names, ollama, pulls
from foreman.core.body import RequestBody
from foreman.core.errors import BodyEncoded, ModelNotFound
from foreman.core.framing import Framing
from foreman.core.headers import request_headers
from foreman.core.job import Payload
from foreman.core.lanes import Lane
from foreman.core.submission import Submission, request_hash
from foreman.core.upkeep import CREATE, PULL
from foreman.core.upstreams import route
from foreman.engine.poller import Poller
from foreman.settings import Settings

TRANSCRIPTIONS = "/v1/audio/transcriptions"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A request as it came: its cleaned path, its headers and whole body, and who asks.

    Its query goes nowhere: Ollama would read one for the model of a transcription, behind the back of the form.
    """

    path: str
    headers: MultiMapping[str]
    body: bytes
    client: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may become a job, and the framing its answer will have."""

    submission: Submission
    asked: Framing


@dataclass(frozen=True, slots=True)
class Unload:
    """A request that only asks to unload a model (canonical name)."""

    model: str


def check_encoding(headers: Mapping[str, str]) -> None:
    """Raises BodyEncoded; no byte of the body need be read for it."""
    if "zstd" in headers.get("Content-Encoding", "").lower():  # (1)
        raise BodyEncoded("foreman does not read zstd bodies: send the request uncompressed")


async def admitted(inquiry: Inquiry, poller: Poller, settings: Settings) -> Admitted | Unload | None:
    """What a request is; None where the target would refuse it and had better say so itself.

    Ask `check_encoding` first. Raises InvalidModelName or ModelNotFound, and BadRequest for a form nobody can read.
    """
    path, body = inquiry.path, inquiry.body
    if path in (PULL, CREATE):
        return await apart(partial(_upkeep, inquiry), long=len(body) > bodies.LARGE)
    parsed = await apart(partial(_parsed, inquiry), long=len(body) > bodies.LARGE or path == TRANSCRIPTIONS)
    if parsed is None or not parsed.model.strip():  # (2)
        return None
    routed = route(settings.remotes, path, parsed.model)
    if routed is not None:
        body = await apart(partial(bodies.set_model, body, routed.model), long=len(body) > bodies.LARGE)
        payload = Payload(path, request_headers(inquiry.headers), body)
        submission = Submission(payload, routed.key, inquiry.client, lane=Lane.REMOTE, model=routed.shown)
        return Admitted(submission, ollama.framing_asked(path, parsed))
    name = names.parse(parsed.model)  # (3)
    if not name.is_cloud and not await poller.knows(name):
        raise ModelNotFound(ollama.missing_model(path, parsed.model))
    if ollama.is_unload(path, parsed):  # (4)
        return Unload(name.canonical)
    keep_alive = ollama.client_keep_alive(settings.client_keep_alive, parsed.keep_alive, settings.keep_alive)
    if path.startswith("/api/") and keep_alive is not None:
        body = await apart(partial(bodies.set_keep_alive, body, keep_alive), long=len(body) > bodies.LARGE)
    payload = Payload(path, request_headers(inquiry.headers), body)
    key, lane = ollama.load_key(name, path, parsed), poller.models.lane(name.canonical)
    submission = Submission(payload, key, inquiry.client, lane=lane)
    return Admitted(submission, ollama.framing_asked(path, parsed))  # (5)


def _upkeep(inquiry: Inquiry) -> Admitted | None:
    """Raises InvalidModelName."""
    path = inquiry.path
    asked = pulls.read(inquiry.body) if path == PULL else creates.read(inquiry.body)
    if asked is None:
        return None
    payload = Payload(path, request_headers(inquiry.headers), asked.body)
    request = request_hash(path, asked.identity)
    submission = Submission(payload, asked.key, inquiry.client, hash=request, again=True, once=asked.once)
    return Admitted(submission, Framing.NDJSON if asked.stream else Framing.WHOLE)


async def apart(look: Callable[[], T], *, long: bool) -> T:
    """What may take long, in a thread of its own: other answers must go on meanwhile."""
    return await asyncio.to_thread(look) if long else look()


def _parsed(inquiry: Inquiry) -> RequestBody | None:
    if inquiry.path != TRANSCRIPTIONS:
        return bodies.read(inquiry.body)
    return multipart.read_multipart(inquiry.headers.get("Content-Type", ""), inquiry.body)
