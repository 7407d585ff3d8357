"""`/openapi.json`: foreman's own routes for programs, as OpenAPI 3.1. The shapes stand in `openapi_schemas.py`.

The drop-in routes are not here: they are Ollama's and OpenAI's, and are documented there.
"""

from functools import cache
from typing import Any, Final

import orjson
from aiohttp import web

from foreman import __version__
from foreman.core.job import JobState
from foreman.web.openapi_schemas import ARRAY_LIMIT, SCHEMAS
from foreman.web.openapi_shapes import ID, Schema, array, ref

PROBLEMS: Final = {
    400: "something in the request is wrong; the detail names it",
    401: "a key is needed",
    403: "this host name or origin is not allowed",
    404: "there is no such job",
    405: "this route takes other methods",
    408: "the body stopped arriving",
    409: "the job is finished, or not finished, or the key was used for another request",
    410: "the job was cancelled and left no answer",
    413: "too large, or too many",
    415: "the body's encoding is not read here",
    416: "beyond the end of the answer",
    502: "the job failed and left no answer",
    503: "nothing is accepted right now: the queue is full, foreman stops, or the database takes no writes",
    507: "the disk is full, or this needs more than the machine has",
}
ALWAYS: Final = (401, 403)
WRITES: Final = (503, 507)


async def openapi(_: web.Request) -> web.Response:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return orjson.dumps(document(), option=orjson.OPT_APPEND_NEWLINE)


def document() -> dict[str, Any]:
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "foreman",
            "version": __version__,
            "description": "A durable, drop-in queue in front of one Ollama server: its own routes.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"api_key": []}],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _json(schema: Schema, text: str, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": text, "content": {"application/json": {"schema": schema}}}
    if headers:
        named = {name.replace("_", "-"): meaning for name, meaning in headers.items()}
        answer["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in named.items()
        }
    return answer


def _operation(
    name: str, summary: str, answers: dict[int | str, dict[str, Any]], *problems: int, **more: object
) -> dict[str, Any]:
    responses = {str(status): answer for status, answer in answers.items()}
    for status in sorted({*problems, *ALWAYS}):
        responses[str(status)] = {
            "description": PROBLEMS[status],
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _in(where: str, name: str, schema: Schema, text: str, **more: object) -> dict[str, Any]:
    return {"name": name, "in": where, "schema": schema, "description": text, **more}


_JOB_ID: Final = _in("path", "id", ID, "of the job, in either case", required=True)
_ACCEPTED: Final = {"Location": "the job's page", "X_Foreman_Job": "the job's id"}
_KEY: Final = _in(
    "header",
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "the same request again joins its job; for one job only",
)
_OVERRIDE: Final = _in("header", "X-Foreman-Override", {"type": "string", "enum": ["gate"]}, "do not heed the gate")
_NUMBER: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_LIST: Final = [
    _in(
        "query",
        "state",
        array({"type": "string", "enum": [*JobState]}, minItems=1),
        "any of these",
        style="form",
        explode=False,
    ),
    _in("query", "model", {"type": "string", "minLength": 1}, "by whichever of its names"),
    _in("query", "client", {"type": "string"}, "as the job says it"),
    _in("query", "since", {"type": "string", "format": "date-time"}, "created since then"),
    _in("query", "limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "at most so many"),
    _in("query", "after", {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}, "the `next` of the page before"),
]
_STREAM: Final = {
    "description": "the target's bytes, with its content type",
    "headers": {
        "ETag": {"description": "names the job and the attempt", "schema": {"type": "string"}},
        "X-Foreman-Attempt": {"description": "which attempt this is the answer of", "schema": {"type": "string"}},
        "X-Foreman-Job": {"description": "the job's id", "schema": {"type": "string"}},
    },
    "content": {"*/*": {}},
}

# Where the target refused the request, its refusal is the answer, with whatever status and type it had.
_REFUSAL: Final = {**_STREAM, "description": "the target's own refusal"}
_READING: Final = _operation(
    "read_response",
    "A job's answer, live or stored, byte for byte",
    {200: _STREAM, 206: {**_STREAM, "description": "the bytes from there on"}, "default": _REFUSAL},
    400,
    404,
    410,
    416,
    502,
    503,
    parameters=[
        _in("query", "offset", _NUMBER, "from which byte on"),
        _in("header", "Range", {"type": "string", "pattern": "^bytes=[0-9]{1,18}-$"}, "the same"),
        _in("header", "If-Range", {"type": "string", "pattern": "^[!-~]+$"}, "an ETag; else all is sent"),
    ],
)
for _status, _answer in _READING["responses"].items():
    if _status[0] in "45" and _status not in ("401", "403"):
        _answer["content"]["*/*"] = {}

PATHS: Final[dict[str, dict[str, Any]]] = {
    "/health": {
        method: _operation(
            f"{method}_health",
            "How foreman is: 200 while jobs are accepted, 503 when not",
            {200: _json(ref("Health"), "jobs are accepted"), 503: _json(ref("Health"), "none are")},
            security=[{}],
        )
        for method in ("get", "head")
    },
    "/jobs": {
        "get": _operation(
            "list_jobs",
            "The newest jobs, a page at a time",
            {200: _json(ref("JobList"), "a page")},
            400,
            parameters=_LIST,
        ),
        "post": _operation(
            "submit_jobs",
            f"Hand over one job, or up to {ARRAY_LIMIT} in one step",
            {
                202: _json({"anyOf": [ref("JobPage"), ref("Jobs")]}, "on disk: the job, or all of them", **_ACCEPTED),
            },
            400,
            408,
            409,
            413,
            *WRITES,
            parameters=[_KEY, _OVERRIDE],
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"oneOf": [ref("NewJob"), array(ref("NewJob"), minItems=1, maxItems=ARRAY_LIMIT)]}
                    }
                },
            },
        ),
    },
    "/jobs/{id}": {
        "parameters": [_JOB_ID],
        "get": _operation("show_job", "All that is known of a job", {200: _json(ref("JobPage"), "the job")}, 404),
        "delete": _operation(
            "cancel_job",
            "Cancel a job, wherever it stands; or delete a finished one",
            {
                200: _json(ref("JobPage"), "it is cancelled"),
                202: _json(ref("JobPage"), "it will be, as soon as the target has let go of it"),
                204: {"description": "it is forgotten"},
            },
            400,
            404,
            409,
            *WRITES,
            parameters=[
                _in(
                    "query",
                    "forget",
                    {"type": "string", "enum": ["true", "false"], "default": "false"},
                    "delete a finished job and its bodies",
                )
            ],
        ),
    },
    "/jobs/{id}/retry": {
        "parameters": [_JOB_ID],
        "post": _operation(
            "retry_job",
            "Submit the request of a failed or cancelled job again, as a new job",
            {202: _json(ref("JobPage"), "the new job", **_ACCEPTED)},
            400,
            404,
            409,
            *WRITES,
            parameters=[_OVERRIDE],
        ),
    },
    "/jobs/{id}/keep": {
        "parameters": [_JOB_ID],
        "put": _operation(
            "keep_job",
            "Have a job stay when its time is over",
            {200: _json(ref("JobPage"), "it stays")},
            404,
            *WRITES,
        ),
        "delete": _operation(
            "release_job",
            "Have a kept job leave when its time is over",
            {200: _json(ref("JobPage"), "it goes")},
            404,
            *WRITES,
        ),
    },
    "/jobs/{id}/override": {
        "parameters": [_JOB_ID],
        "put": _operation(
            "override_job",
            "Have a job that waits pass the gate",
            {200: _json(ref("JobPage"), "it is neither held nor refused")},
            400,
            404,
            408,
            409,
            413,
            *WRITES,
            requestBody={"required": True, "content": {"application/json": {"schema": ref("Override")}}},
        ),
    },
    "/jobs/{id}/response": {"parameters": [_JOB_ID], "get": _READING},
    "/queue": {
        "get": _operation(
            "show_queue",
            "What runs, and what waits in the order in which it will run",
            {200: _json(ref("Queue"), "the queue")},
        )
    },
    "/queue/pause": {
        "post": _operation("pause_queue", "Begin no further job", {200: _json(ref("Queue"), "it is paused")}, *WRITES)
    },
    "/queue/resume": {"post": _operation("resume_queue", "Go on", {200: _json(ref("Queue"), "it goes on")}, *WRITES)},
    "/slots": {
        "post": _operation(
            "ask_for_slot",
            "Hold a slot of a lane, to run a command of one's own: the answer comes when it is granted",
            {
                200: _json(
                    ref("Slot"),
                    "granted, after white space for as long as it had to wait; cut short where it is not granted",
                    X_Foreman_Job="the slot's id, which is that of its job",
                )
            },
            400,
            408,
            409,
            413,
            *WRITES,
            parameters=[_KEY, _OVERRIDE],
            requestBody={"required": True, "content": {"application/json": {"schema": ref("NewSlot")}}},
        )
    },
    "/slots/{id}": {
        "parameters": [_JOB_ID],
        "delete": _operation(
            "release_slot",
            "Give a slot back, or leave the queue for it",
            {200: _json(ref("JobPage"), "its job, as it ended")},
            400,
            404,
            408,
            409,
            413,
            *WRITES,
            requestBody={"content": {"application/json": {"schema": ref("SlotEnd")}}},
        ),
    },
    "/slots/{id}/heartbeat": {
        "parameters": [_JOB_ID],
        "post": _operation(
            "keep_slot",
            "Say that the holder of a slot lives",
            {200: _json(ref("Heartbeat"), "it is held on")},
            404,
            409,
        ),
    },
    "/machine": {
        "get": _operation(
            "show_machine",
            "What the machine is like, what is held, and what the next load needs",
            {200: _json(ref("Machine"), "the machine")},
        )
    },
    "/machine/forecasts": {
        "get": _operation(
            "show_forecasts",
            "What was expected of past loads and what they took, the newest first",
            {200: _json(ref("Forecasts"), "past loads")},
        )
    },
    "/machine/reloads": {
        "get": _operation(
            "show_reloads",
            "The loads of models since the start: how many were paid and avoided, and who caused the newest ones",
            {200: _json(ref("Reloads"), "the ledger")},
        )
    },
    "/metrics": {
        "get": _operation(
            "show_metrics",
            "What is counted and what is now, for Prometheus",
            {200: {"description": "metrics as text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
    },
    "/events": {
        "get": _operation(
            "follow_events",
            "A snapshot of the queue (event `snapshot`), then every change of a job (event `job`), without an end",
            {
                200: {
                    "description": "server-sent events",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                }
            },
            400,
            parameters=[_in("header", "Last-Event-ID", _NUMBER, "go on behind this one, as far back as is kept")],
        )
    },
    "/openapi.json": {"get": _operation("openapi", "This document", {200: _json({"type": "object"}, "this document")})},
}
