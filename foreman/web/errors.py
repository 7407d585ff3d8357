"""The one table from foreman's errors to HTTP, and the middleware that applies it.

An error on a route of Ollama, OpenAI or Anthropic has that API's own shape; on foreman's own routes it is a problem
document (RFC 9457). `X-Foreman-Error` says that foreman, not the target, is speaking, and which error it is.
"""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

from foreman.core import errors
from foreman.core.errors import ForemanError
from foreman.core.job import surface_of
from foreman.core.ollama import error_body
from foreman.web.paths import route_path

log = logging.getLogger(__name__)

JOB_HEADER: Final = "X-Foreman-Job"
ATTEMPT_HEADER: Final = "X-Foreman-Attempt"
ERROR_HEADER: Final = "X-Foreman-Error"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: Final[dict[type[ForemanError], int]] = {
    errors.BadRequest: 400,
    errors.InvalidModelName: 400,
    errors.KeyRefused: 401,
    errors.ScopeMissing: 403,
    errors.HostRefused: 403,
    errors.OriginRefused: 403,
    errors.ModelNotFound: 404,
    errors.NothingHere: 404,
    errors.JobNotFound: 404,
    errors.KeyNotFound: 404,
    errors.NotAllowed: 405,
    errors.BodyStalled: 408,
    errors.JobFinished: 409,
    errors.IdempotencyConflict: 409,
    errors.JobCancelled: 410,
    errors.BodyTooLarge: 413,
    errors.TooMany: 413,
    errors.BodyEncoded: 415,
    errors.OffsetBeyondEnd: 416,
    errors.TooManyFailures: 429,
    errors.InternalError: 500,
    errors.TargetError: 502,
    errors.JobFailed: 502,
    errors.MaybeBilled: 502,
    errors.QueueFull: 503,
    errors.Draining: 503,
    errors.StorageFailed: 503,
    errors.ReaderCut: 503,
    errors.TargetSilent: 504,
    errors.NoRoom: 507,
    errors.NeverFits: 507,
    errors.StorageFull: 507,
}

# Seconds after which trying again may help; never above a minute, since one SDK sleeps out whatever it is told.
RETRY_AFTER: Final[dict[type[ForemanError], int]] = {
    errors.QueueFull: 30,
    errors.Draining: 10,
    errors.StorageFailed: 10,
    errors.StorageFull: 60,
    errors.TargetError: 10,
    errors.TargetSilent: 30,
}

OWN_PATHS: Final = (
    "/health",
    "/jobs",
    "/queue",
    "/slots",
    "/machine",
    "/events",
    "/openapi.json",
    "/metrics",
    "/ui",
    "/keys",
)


def status_of(error: ForemanError) -> int:
    """The HTTP status of an error: that of its nearest class in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def render(error: ForemanError, path: str, job_id: str = "") -> web.Response:
    """An error as the caller of `path` expects it; `job_id` where a job came of the request."""
    status = status_of(error)
    headers = headers_of(error)
    if job_id:
        headers[JOB_HEADER] = job_id
    if is_own(path):
        return _problem(error, status, headers)
    if isinstance(error, errors.NotAllowed):
        return web.Response(status=status, headers=headers, text="405 method not allowed")
    body = error_body(surface_of(path), status, str(error), job_id or "foreman")
    return web.Response(status=status, headers=headers, body=body, content_type="application/json")


def headers_of(error: ForemanError) -> dict[str, str]:
    """What an error says in headers, whatever its shape."""
    headers = {ERROR_HEADER: error.code}
    wait = next((RETRY_AFTER[kind] for kind in type(error).__mro__ if kind in RETRY_AFTER), None)
    if wait is not None:
        headers["Retry-After"] = str(wait)
    if isinstance(error, errors.TooManyFailures):
        headers["Retry-After"] = str(error.wait)
    if isinstance(error, errors.KeyRefused | errors.TooManyFailures):
        headers["WWW-Authenticate"] = 'Bearer realm="foreman"'
    if isinstance(error, errors.IdempotencyConflict):
        headers[JOB_HEADER] = error.job_id
    if isinstance(error, errors.OffsetBeyondEnd):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, errors.RequestError | errors.MaybeBilled | errors.NeverFits):
        # A client that tries again by itself would only be told the same.
        headers["X-Should-Retry"] = "true" if wait is not None else "false"
    if isinstance(error, errors.NotAllowed):
        headers["Allow"] = ", ".join(error.allow)
    return headers


def is_own(path: str) -> bool:
    """Whether a path is foreman's own, where errors are problem documents."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN_PATHS)


def _problem(error: ForemanError, status: int, headers: dict[str, str]) -> web.Response:
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": str(error), "code": error.code}
    return web.Response(
        status=status, headers=headers, body=orjson.dumps(problem), content_type="application/problem+json"
    )


@web.middleware
async def errors_to_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raised before its answer began into the answer."""
    path = route_path(request)
    try:
        return await handler(request)
    except ForemanError as error:
        return render(error, path)
    except web.HTTPException:
        raise
    except Exception:
        log.exception("a request could not be answered", extra={"event": "handler_failed", "fields": {"path": path}})
        return render(errors.InternalError("foreman made a mistake; its log says more"), path)
