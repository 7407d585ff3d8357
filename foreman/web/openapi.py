"""`/openapi.json`: foreman's own routes for programs, as OpenAPI 3.1. The shapes stand in `openapi_schemas.py`.

The drop-in routes are not here: they are Ollama's and OpenAI's, and are documented there.
"""

from functools import cache
from typing import Any, Final

import orjson
from aiohttp import web

from foreman import __version__
from foreman.core.job import JobState
from foreman.web.openapi_keys import KEY_PATHS
from foreman.web.openapi_operations import ALWAYS, WRITES, answered, operation, parameter
from foreman.web.openapi_schemas import ARRAY_LIMIT, SCHEMAS
from foreman.web.openapi_shapes import ID, Schema, array, ref


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


_JOB_ID: Final = parameter("path", "id", ID, "of the job, in either case", required=True)
_ACCEPTED: Final = {"Location": "the job's page", "X_Foreman_Job": "the job's id"}
_KEY: Final = parameter(
    "header",
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "the same request again joins its job; for one job only",
)
_OVERRIDE: Final = parameter(
    "header", "X-Foreman-Override", {"type": "string", "enum": ["gate"]}, "do not heed the gate"
)
_NUMBER: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_LIST: Final = [
    parameter(
        "query",
        "state",
        array({"type": "string", "enum": [*JobState]}, minItems=1),
        "any of these",
        style="form",
        explode=False,
    ),
    parameter("query", "model", {"type": "string", "minLength": 1}, "by whichever of its names"),
    parameter("query", "client", {"type": "string"}, "as the job says it"),
    parameter("query", "since", {"type": "string", "format": "date-time"}, "created since then"),
    parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "at most so many"),
    parameter("query", "after", {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}, "the `next` of the page before"),
]
_SENT: Final = {"description": "the bytes", "content": {"application/json": {}, "application/octet-stream": {}}}
_FILE: Final = {"description": "the file", "content": {"*/*": {}}}
_SAME: Final = {"description": "the file that is known already"}
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
_READING: Final = operation(
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
        parameter("query", "offset", _NUMBER, "from which byte on"),
        parameter("header", "Range", {"type": "string", "pattern": "^bytes=[0-9]{1,18}-$"}, "the same"),
        parameter("header", "If-Range", {"type": "string", "pattern": "^[!-~]+$"}, "an ETag; else all is sent"),
    ],
)
for _status, _answer in _READING["responses"].items():
    if _status[0] in "45" and int(_status) not in ALWAYS:
        _answer["content"]["*/*"] = {}

PATHS: Final[dict[str, dict[str, Any]]] = {
    "/health": {
        method: operation(
            f"{method}_health",
            "How foreman is: 200 while jobs are accepted, 503 when not",
            {200: answered(ref("Health"), "jobs are accepted"), 503: answered(ref("Health"), "none are")},
            security=[{}],
        )
        for method in ("get", "head")
    },
    "/jobs": {
        "get": operation(
            "list_jobs",
            "The newest jobs, a page at a time",
            {200: answered(ref("JobList"), "a page")},
            400,
            parameters=_LIST,
        ),
        "post": operation(
            "submit_jobs",
            f"Hand over one job, or up to {ARRAY_LIMIT} in one step",
            {
                202: answered(
                    {"anyOf": [ref("JobPage"), ref("Jobs")]}, "on disk: the job, or all of them", **_ACCEPTED
                ),
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
        "get": operation("show_job", "All that is known of a job", {200: answered(ref("JobPage"), "the job")}, 404),
        "delete": operation(
            "cancel_job",
            "Cancel a job, wherever it stands; or delete a finished one",
            {
                200: answered(ref("JobPage"), "it is cancelled"),
                202: answered(ref("JobPage"), "it will be, as soon as the target has let go of it"),
                204: {"description": "it is forgotten"},
            },
            400,
            404,
            409,
            *WRITES,
            parameters=[
                parameter(
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
        "post": operation(
            "retry_job",
            "Submit the request of a failed or cancelled job again, as a new job",
            {202: answered(ref("JobPage"), "the new job", **_ACCEPTED)},
            400,
            404,
            409,
            *WRITES,
            parameters=[_OVERRIDE],
        ),
    },
    "/jobs/{id}/keep": {
        "parameters": [_JOB_ID],
        "put": operation(
            "keep_job",
            "Have a job stay when its time is over",
            {200: answered(ref("JobPage"), "it stays")},
            404,
            *WRITES,
        ),
        "delete": operation(
            "release_job",
            "Have a kept job leave when its time is over",
            {200: answered(ref("JobPage"), "it goes")},
            404,
            *WRITES,
        ),
    },
    "/jobs/{id}/request": {
        "parameters": [_JOB_ID],
        "get": operation("read_request", "The body of a job's request, as it was sent", {200: _SENT}, 404),
    },
    "/jobs/{id}/override": {
        "parameters": [_JOB_ID],
        "put": operation(
            "override_job",
            "Have a job that waits pass the gate",
            {200: answered(ref("JobPage"), "it is neither held nor refused")},
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
        "get": operation(
            "show_queue",
            "What runs, and what waits in the order in which it will run",
            {200: answered(ref("Queue"), "the queue")},
            400,
            parameters=[
                parameter(
                    "query",
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000},
                    "of each lane only the first of those that wait",
                )
            ],
        )
    },
    "/queue/pause": {
        "post": operation("pause_queue", "Begin no further job", {200: answered(ref("Queue"), "it is paused")}, *WRITES)
    },
    "/queue/resume": {"post": operation("resume_queue", "Go on", {200: answered(ref("Queue"), "it goes on")}, *WRITES)},
    "/slots": {
        "post": operation(
            "ask_for_slot",
            "Hold a slot of a lane, to run a command of one's own: the answer comes when it is granted",
            {
                200: answered(
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
        "delete": operation(
            "release_slot",
            "Give a slot back, or leave the queue for it",
            {200: answered(ref("JobPage"), "its job, as it ended")},
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
        "post": operation(
            "keep_slot",
            "Say that the holder of a slot lives",
            {200: answered(ref("Heartbeat"), "it is held on")},
            404,
            409,
        ),
    },
    "/machine": {
        "get": operation(
            "show_machine",
            "What the machine is like, what is held, and what the next load needs",
            {200: answered(ref("Machine"), "the machine")},
        )
    },
    "/machine/forecasts": {
        "get": operation(
            "show_forecasts",
            "What was expected of past loads and what they took, the newest first",
            {200: answered(ref("Forecasts"), "past loads")},
        )
    },
    "/machine/history": {
        "get": operation(
            "show_history",
            "What the machine was like in the last quarter of an hour, the oldest first",
            {200: answered(ref("History"), "readings, evenly spaced")},
        )
    },
    "/machine/reloads": {
        "get": operation(
            "show_reloads",
            "The loads of models since the start: how many were paid and avoided, and who caused the newest ones",
            {200: answered(ref("Reloads"), "the ledger")},
        )
    },
    "/metrics": {
        "get": operation(
            "show_metrics",
            "What is counted and what is now, for Prometheus",
            {200: {"description": "metrics as text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
    },
    "/events": {
        "get": operation(
            "follow_events",
            "A snapshot of the queue (event `snapshot`), then every change of a job (event `job`), of jobs of other "
            "keys only counts (event `others`), and of the rest (event `state`), without an end",
            {
                200: {
                    "description": "server-sent events",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                }
            },
            400,
            parameters=[
                parameter("header", "Last-Event-ID", _NUMBER, "go on behind this one, as far back as is kept"),
                parameter(
                    "query",
                    "live",
                    {"type": "string", "enum": ["true", "false"], "default": "false"},
                    "tell also how far the running jobs are, some times a second (event `live`)",
                ),
            ],
        )
    },
    **KEY_PATHS,
    "/openapi.json": {
        "get": operation("openapi", "This document", {200: answered({"type": "object"}, "this document")})
    },
    "/ui": {"get": operation("page", "The live page", {200: _FILE, 304: _SAME}, security=[{}])},
    "/ui/{file}": {
        "parameters": [parameter("path", "file", {"type": "string"}, "a file of the page", required=True)],
        "get": operation("page_file", "A file of the live page", {200: _FILE, 304: _SAME}, 404, security=[{}]),
    },
}
