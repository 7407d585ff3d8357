"""Requests that become jobs: everything the target might run.

The order of questions for one request:
1. Can its body be looked into? A compressed one cannot, and is refused where the target would have taken it.
2. Would the target refuse it too (a syntax error, no model)? Then the target answers, in its own words.
3. Is the name a model, and does the target have it? If not, the API's own error, and no job.
4. Does it only ask to unload? Then at once: waiting in line for it would make no sense.
5. Otherwise it is a job.
"""

from aiohttp import web

from foreman.core import body as bodies
from foreman.core import multipart, names, ollama
from foreman.core.body import RequestBody
from foreman.core.errors import BodyEncoded, ModelNotFound
from foreman.core.headers import request_headers
from foreman.core.job import Payload
from foreman.engine.engine import Engine
from foreman.web.answer import answer
from foreman.web.bodies import read_body
from foreman.web.keys import ENGINE, SETTINGS
from foreman.web.passthrough import forward
from foreman.web.paths import route_path


async def queued(request: web.Request) -> web.StreamResponse:
    """One inference request, from body to answer."""
    engine, settings = request.app[ENGINE], request.app[SETTINGS]
    path = route_path(request)
    if "zstd" in request.headers.get("Content-Encoding", "").lower():  # (1)
        raise BodyEncoded("foreman does not read zstd bodies: send the request uncompressed")
    body = await read_body(request, settings.max_body_bytes)
    parsed = _parsed(path, request.headers.get("Content-Type", ""), body)
    if parsed is None or not parsed.model.strip():  # (2)
        return await forward(request, body)
    name = names.parse(parsed.model)  # (3)
    if not name.is_cloud and not await engine.poller.knows(name):
        raise ModelNotFound(ollama.missing_model(path, parsed.model))
    if ollama.is_unload(path, parsed):  # (4)
        return await _unload(request, engine, name.canonical, body)
    keep_alive = ollama.client_keep_alive(settings.client_keep_alive, parsed.keep_alive, settings.keep_alive)
    if path.startswith("/api/") and keep_alive is not None:
        body = bodies.set_keep_alive(body, keep_alive)
    payload = Payload(path, request_headers(request.headers), body)
    live = await engine.submit(payload, ollama.load_key(name, path, parsed), _client(request))  # (5)
    return await answer(request, engine, live)


def _parsed(path: str, content_type: str, body: bytes) -> RequestBody | None:
    if path == "/v1/audio/transcriptions":
        return multipart.read_multipart(content_type, body)
    return bodies.read(body)


async def _unload(request: web.Request, engine: Engine, model: str, body: bytes) -> web.StreamResponse:
    response = await forward(request, body)
    engine.poller.unloaded(model)
    await engine.poller.look()
    return response


def _client(request: web.Request) -> str:
    """Who asks, for people who read logs: the product of the User-Agent and the address."""
    product = request.headers.get("User-Agent", "").partition(" ")[0]
    return f"{product} {request.remote or ''}".strip()
