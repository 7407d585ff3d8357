"""The whole URL table on one screen.

What the target might run is a job, and so is a pull; what the poller knows is answered from it; the rest is passed on.
Ollama cleans and decodes a path before it routes, so a request is classed by its cleaned path: `/api%2Fchat` is a job
too.
"""

import re
from typing import Final

from aiohttp import web

from foreman.core.access import ANY, OPEN, Needs
from foreman.core.errors import ForemanError, NotAllowed, NothingHere
from foreman.core.ollama import EMBEDDING_PATHS, JOB_PATHS, V1_EMBEDDINGS
from foreman.core.upkeep import PATHS as UPKEEP
from foreman.web import jobs, keys, queue, slots
from foreman.web.access import ADMIN, EITHER, INFER, MANAGE, READ, STEER
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

Row = tuple[str, str, Handler, Needs]

# foreman's own routes: method, path, handler, and which scope a caller needs. None is ever passed on to the target.
OWN: Final[tuple[Row, ...]] = (
    ("GET", "/health", health, READ),
    ("HEAD", "/health", health, READ),
    ("GET", "/jobs", jobs.listed, INFER),
    ("POST", "/jobs", jobs.submit, INFER),
    ("GET", "/jobs/{id}", jobs.shown, INFER),
    ("DELETE", "/jobs/{id}", jobs.cancelled, INFER),
    ("POST", "/jobs/{id}/retry", jobs.retried, INFER),
    ("PUT", "/jobs/{id}/keep", jobs.kept, INFER),
    ("DELETE", "/jobs/{id}/keep", jobs.kept, INFER),
    ("PUT", "/jobs/{id}/override", override, INFER),
    ("GET", "/jobs/{id}/response", response, INFER),
    ("GET", "/queue", queue.queue, EITHER),
    ("POST", "/queue/pause", queue.pause, STEER),
    ("POST", "/queue/resume", queue.resume, STEER),
    ("POST", "/slots", slots.asked, INFER),
    ("DELETE", "/slots/{id}", slots.released, INFER),
    ("POST", "/slots/{id}/heartbeat", slots.beaten, INFER),
    ("GET", "/machine", machine, READ),
    ("GET", "/machine/forecasts", forecasts, READ),
    ("GET", "/machine/reloads", reloads, READ),
    ("GET", "/metrics", metrics, READ),
    ("GET", "/events", events, EITHER),
    ("GET", "/keys", keys.listed, ADMIN),
    ("POST", "/keys", keys.created, ADMIN),
    ("DELETE", "/keys/{id}", keys.revoked, ADMIN),
    ("GET", "/openapi.json", openapi, ANY),
    # Whoever wants to show a key has none yet.
    ("GET", "/ui/session", keys.session, OPEN),
    ("POST", "/ui/session", keys.begun, OPEN),
    ("DELETE", "/ui/session", keys.ended, OPEN),
)

# Paths of Ollama and OpenAI that foreman answers for itself. `/` says only that the process answers at all: a
# container's health check has no key.
DROP_IN: Final[tuple[Row, ...]] = (
    *(("POST", path, queued, MANAGE if path in UPKEEP else INFER) for path in JOB_PATHS),
    ("GET", "/", root, OPEN),
    ("HEAD", "/", root, OPEN),
    ("GET", "/api/tags", tags, EITHER),
    ("HEAD", "/api/tags", tags, EITHER),
    ("GET", "/api/ps", ps, EITHER),
    ("GET", "/api/version", version, EITHER),
    ("HEAD", "/api/version", version, EITHER),
    ("GET", "/v1/models", v1_models, EITHER),
    ("GET", "/v1/models/{model}", v1_model, EITHER),
)

# What is passed on and does no harm; all else that is passed on needs `manage`.
PASSED_ON: Final[dict[tuple[str, str], Needs]] = {
    ("POST", "/api/show"): EITHER,
    **{("POST", path): INFER for path in EMBEDDING_PATHS},
}

METHODS: Final[dict[str, tuple[str, ...]]] = {
    path: tuple(method for method, other, *_ in DROP_IN if other == path) for _, path, *_ in DROP_IN if "{" not in path
}
_NEEDS: Final = {(method, path): needs for method, path, _, needs in (*OWN, *DROP_IN)}
_OWN_PATTERNS: Final = tuple((method, re.compile(re.sub(r"{\w+}", "[^/]+", path))) for method, path, *_ in OWN)


def table() -> list[web.RouteDef]:
    return [
        *(_route(method, path, handler) for method, path, handler, _ in (*OWN, *DROP_IN)),
        web.route("*", "/{path:.*}", everything_else, expect_handler=expected),
    ]


def _route(method: str, path: str, handler: Handler) -> web.RouteDef:
    # aiohttp would give every GET a HEAD by itself.
    alone = {"allow_head": False} if method == "GET" else {}
    return web.route(method, path, handler, expect_handler=expected, **alone)


def needs_of(request: web.Request) -> Needs:
    """What the handler asks that the request comes to: as its row says, else by what `everything_else` makes of it."""
    resource = request.match_info.route.resource
    needs = None if resource is None else _NEEDS.get((request.method, resource.canonical))
    return needs_for(request.method, route_path(request)) if needs is None else needs


def needs_for(method: str, path: str) -> Needs:
    """The same for a cleaned path that came to no row; and for the short way, whose paths all have one."""
    needs = _NEEDS.get((method, path)) or PASSED_ON.get((method, path))
    if needs:  # what is open is so as it stands there, and not in disguise
        return needs
    # A wrong method, or nothing at all: that is told to anybody with a key.
    if is_own(path) or (path in METHODS and method not in (*METHODS[path], "OPTIONS")):
        return ANY
    return EITHER if method == "GET" and path.startswith("/v1/models/") else MANAGE


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
        guard.admit(needs_of(request), request.method, request.headers, request.remote)
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
