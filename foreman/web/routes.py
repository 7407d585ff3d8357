"""The whole URL table on one screen.

What the target might run is a job, and so is a pull; what the poller knows is answered from it; the rest is passed on.
Ollama cleans and decodes a path before it routes, so a request is classed by its cleaned path: `/api%2Fchat` is a job
too.
"""

import re
from typing import Final

from aiohttp import web

from foreman.core.errors import ForemanError, NotAllowed, NothingHere
from foreman.core.ollama import JOB_PATHS, V1_EMBEDDINGS
from foreman.web import jobs, queue, slots
from foreman.web.app_keys import SETTINGS
from foreman.web.bodies import check_length
from foreman.web.cached import ps, tags, v1_model, v1_models, version
from foreman.web.errors import Handler, is_own, render
from foreman.web.events import events
from foreman.web.guard import GUARD
from foreman.web.machine import forecasts, machine
from foreman.web.metrics import metrics
from foreman.web.openapi import openapi
from foreman.web.override import override
from foreman.web.passthrough import forward
from foreman.web.paths import route_path, sent_path
from foreman.web.queued import embeddings, queued
from foreman.web.reloads import reloads
from foreman.web.response import response
from foreman.web.status import health, root

# Paths that foreman answers for itself, with the methods they take.
METHODS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(JOB_PATHS, ("POST",)),
    "/": ("GET", "HEAD"),
    "/api/tags": ("GET", "HEAD"),
    "/api/ps": ("GET",),
    "/api/version": ("GET", "HEAD"),
    "/v1/models": ("GET",),
}


# foreman's own routes: method, path, handler. None of them is ever passed on to the target.
OWN: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/health", health),
    ("HEAD", "/health", health),
    ("GET", "/jobs", jobs.listed),
    ("POST", "/jobs", jobs.submit),
    ("GET", "/jobs/{id}", jobs.shown),
    ("DELETE", "/jobs/{id}", jobs.cancelled),
    ("POST", "/jobs/{id}/retry", jobs.retried),
    ("PUT", "/jobs/{id}/keep", jobs.kept),
    ("DELETE", "/jobs/{id}/keep", jobs.kept),
    ("PUT", "/jobs/{id}/override", override),
    ("GET", "/jobs/{id}/response", response),
    ("GET", "/queue", queue.queue),
    ("POST", "/queue/pause", queue.pause),
    ("POST", "/queue/resume", queue.resume),
    ("POST", "/slots", slots.asked),
    ("DELETE", "/slots/{id}", slots.released),
    ("POST", "/slots/{id}/heartbeat", slots.beaten),
    ("GET", "/machine", machine),
    ("GET", "/machine/forecasts", forecasts),
    ("GET", "/machine/reloads", reloads),
    ("GET", "/metrics", metrics),
    ("GET", "/events", events),
    ("GET", "/openapi.json", openapi),
)
_OWN_PATTERNS: Final = tuple((method, re.compile(path.replace("{id}", "[^/]+"))) for method, path, _ in OWN)


def table() -> list[web.RouteDef]:
    return [
        *(_own(method, path, handler) for method, path, handler in OWN),
        *(web.post(path, queued, expect_handler=expected) for path in JOB_PATHS),
        web.get("/", root),
        web.get("/api/tags", tags),
        web.get("/api/ps", ps, allow_head=False),
        web.get("/api/version", version),
        web.get("/v1/models", v1_models, allow_head=False),
        web.get("/v1/models/{model}", v1_model, allow_head=False),
        web.route("*", "/{path:.*}", everything_else, expect_handler=expected),
    ]


def _own(method: str, path: str, handler: Handler) -> web.RouteDef:
    # aiohttp would give every GET a HEAD by itself.
    alone = {"allow_head": False} if method == "GET" else {}
    return web.route(method, path, handler, expect_handler=expected, **alone)


async def everything_else(request: web.Request) -> web.StreamResponse:
    """Embeddings, model management, what is unknown; and known paths in disguise or with a wrong method."""
    path = route_path(request)
    if (request.method, path) == ("POST", V1_EMBEDDINGS):
        return await embeddings(request)
    methods = METHODS.get(path) or tuple(method for method, pattern in _OWN_PATTERNS if pattern.fullmatch(path))
    if not methods:
        if is_own(path):
            raise NothingHere(f"there is nothing at {path[:200]}")
        return await forward(request)
    if request.method not in methods and (request.method != "OPTIONS" or is_own(path)):
        raise NotAllowed(f"{path} takes {' and '.join(methods)}", methods)
    if path in JOB_PATHS and request.method in methods:
        return await queued(request)
    if is_own(path):
        raise NothingHere(f"there is nothing at {sent_path(request)[:200]}; did you mean {path}?")
    return await forward(request)


async def expected(request: web.Request) -> web.StreamResponse | None:
    """`Expect: 100-continue`: the client is told to send its body only where it would be taken."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        return None
    guard, path = request.app[GUARD], route_path(request)
    try:
        guard.check(request.method, request.headers)
        guard.check_key(request.path, request.headers)
        if path in JOB_PATHS:
            check_length(request, request.app[SETTINGS].max_body_bytes)
    except ForemanError as error:
        response = render(error, path)
        # The client may send its body all the same, and it must not be read as a request.
        response.force_close()
        return response
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What is written before the answer must not count as a part of it.
    request.writer.output_size = 0
    return None
