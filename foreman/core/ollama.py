"""Facts of Ollama's HTTP API: which paths are what, what makes it reload a model, and the words of its errors.

Source: Ollama v0.33 (server/routes.go, server/sched.go, api/types.go, openai, anthropic).
It must not know of queues, sockets or foreman's own routes.
"""

import re
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote

import orjson

from foreman.core import names, upkeep
from foreman.core.body import RequestBody
from foreman.core.durations import keep_alive_seconds
from foreman.core.errors import InvalidModelName
from foreman.core.framing import Framing
from foreman.core.job import LoadKey, Surface
from foreman.core.jsonvalue import Scalar
from foreman.core.names import ModelName

KeepAlivePolicy = Literal["own", "clamp", "respect"]

GENERATE: Final = "/api/generate"
CHAT: Final = "/api/chat"

QUEUED_PATHS: Final = (
    CHAT,
    GENERATE,
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
)
"""POST requests for which the target runs a worker model."""

JOB_PATHS: Final = (*QUEUED_PATHS, *upkeep.PATHS)
"""POST requests that become jobs."""

V1_EMBEDDINGS: Final = "/v1/embeddings"
EMBEDDING_PATHS: Final = ("/api/embed", "/api/embeddings", V1_EMBEDDINGS)

LOAD_OPTIONS: Final[dict[str, type[int] | type[bool]]] = {
    "draft_num_predict": int,
    "main_gpu": int,
    "num_batch": int,
    "num_ctx": int,
    "num_gpu": int,
    "num_thread": int,
    "use_mmap": bool,
}
"""The options that are fixed when a model is loaded: Ollama reloads it for a request with another value."""

_INT64: Final = 2**63
_ABSOLUTE: Final = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")


@lru_cache(maxsize=256)
def clean_path(raw: str) -> str:
    """The path that Ollama routes a request target by: decoded, without query, double or trailing slashes and dots."""
    parts: list[str] = []
    for part in unquote(_ABSOLUTE.sub("", raw.partition("?")[0], count=1)).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def load_options(path: str, body: RequestBody) -> tuple[tuple[str, int | bool], ...]:
    """The load-time options a request names, sorted by name; none on /v1, where Ollama reads none.

    Left out is what changes nothing: null, a value of a wrong type (the target answers 500), a negative num_gpu
    (which matches any), and `shift: true` (the default of all but one family of models).
    """
    if path.startswith("/v1/"):
        return ()
    found = [(name, value) for name in LOAD_OPTIONS if (value := _option(name, body.options.get(name))) is not None]
    if body.shift is False and path in (GENERATE, CHAT):
        found.append(("shift", False))
    return tuple(sorted(found))


def _option(name: str, value: Scalar) -> int | bool | None:
    if LOAD_OPTIONS[name] is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_INT64 <= value < _INT64:
        return None
    return None if name == "num_gpu" and value <= -1 else int(value)


def load_key(model: ModelName | str, path: str, body: RequestBody) -> LoadKey:
    """What a request needs loaded. `model` is a name, or one that is canonical already."""
    return LoadKey(model.canonical if isinstance(model, ModelName) else model, load_options(path, body))


def load_body(key: LoadKey, keep_alive: str) -> bytes:
    """The body of the /api/generate request that loads `key` and keeps it for `keep_alive`, and runs nothing."""
    options: dict[str, int | bool] = dict(key.options)
    body: dict[str, Any] = {"model": key.model, "keep_alive": keep_alive, "stream": False}
    if "shift" in options:
        body["shift"] = options.pop("shift")
    if options:
        body["options"] = options
    return orjson.dumps(body)


def is_load(path: str, body: RequestBody) -> bool:
    """Whether a request asks for the model to be loaded, and nothing else."""
    return _is_empty(path, body) and not is_unload(path, body)


def is_unload(path: str, body: RequestBody) -> bool:
    """Whether a request asks for the model to be unloaded, and nothing else: empty, with a keep_alive of zero."""
    return _is_empty(path, body) and keep_alive_seconds(body.keep_alive) == 0


def _is_empty(path: str, body: RequestBody) -> bool:
    # Not its images, system or suffix: Ollama looks at the prompt alone, or at the messages alone.
    return (path == GENERATE and not body.has_prompt) or (path == CHAT and not body.has_messages)


def framing_asked(path: str, body: RequestBody) -> Framing:
    """The framing of the answer if all goes well: /api streams unless told not to, /v1 only if told to."""
    if path.startswith("/api/"):
        return Framing.WHOLE if body.stream is False or _is_empty(path, body) else Framing.NDJSON
    return Framing.SSE if body.stream else Framing.WHOLE


def missing_model(path: str, model: str) -> str:
    """What Ollama says on `path` (a request's, or /v1/models/...) of a model it does not have; `model` as sent."""
    if path in EMBEDDING_PATHS:
        return f"model {orjson.dumps(model).decode()} not found, try pulling it first"
    if path == "/api/show" or path.startswith("/v1/models/"):
        model = _display(model)
    return f"model '{model}' not found"


def _display(model: str) -> str:
    try:
        return names.parse(model).display
    except InvalidModelName:
        return model


def client_keep_alive(policy: KeepAlivePolicy, value: Scalar, pin: str) -> str | None:
    """What to put in the place of a client's keep_alive `value`; None to leave the body alone.

    `own`: always foreman's `pin`. `clamp`: the pin where the client wants the model for longer; what Ollama would
    refuse stays. `respect`: nothing.
    """
    if value is None or policy == "respect":
        return None
    if policy == "own":
        return pin
    wanted, most = keep_alive_seconds(value), keep_alive_seconds(pin)
    return pin if wanted is not None and most is not None and wanted > most else None


_OPENAI_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error"}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def error_body(surface: Surface, status: int, message: str, request_id: str = "foreman") -> bytes:
    """An error before any other byte, in the shape of the API that was called; only Anthropic's has a request id."""
    if surface is Surface.OLLAMA:
        return orjson.dumps({"error": message})
    if surface is Surface.OPENAI:
        kind = _OPENAI_TYPES.get(status, "api_error")
        error: dict[str, Any] = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    else:
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        error = {"type": "error", "error": {"type": kind, "message": message}, "request_id": f"req_{request_id}"}
    return orjson.dumps(error, option=orjson.OPT_APPEND_NEWLINE)


def late_error(framing: Framing, surface: Surface, message: str, code: str, job_id: str, tail: bytes) -> bytes:
    """An error behind the part of an answer that was sent already, in the answer's own framing.

    `tail` is what was sent last, empty where nothing was. Its open line is ended first, so that the error stands alone.
    A whole answer has room for an error only before its first byte; else this is empty.
    """
    match framing:
        case Framing.NDJSON:
            line = orjson.dumps({"error": message, "job": job_id}, option=orjson.OPT_APPEND_NEWLINE)
            return line if not tail or tail.endswith(b"\n") else b"\n" + line
        case Framing.SSE:
            return _line_ends(tail) + _error_frame(surface, message, code, job_id)
        case Framing.WHOLE:
            return b"" if tail else error_body(surface, 502, message, job_id)


def _line_ends(tail: bytes) -> bytes:
    """What ends an event that may have been cut. One blank line too many is nothing in an event stream."""
    if not tail or tail.endswith((b"\n\n", b"\n\r\n")):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"


def _error_frame(surface: Surface, message: str, code: str, job_id: str) -> bytes:
    if surface is Surface.ANTHROPIC:
        error: dict[str, Any] = {"type": "error", "error": {"type": "api_error", "message": message}, "job": job_id}
        return b"event: error\ndata: " + orjson.dumps(error) + b"\n\n"
    error = {"error": {"message": message, "type": "upstream_error", "param": None, "code": code, "job": job_id}}
    return b"data: " + orjson.dumps(error) + b"\n\n"
