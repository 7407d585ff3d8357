"""What the operations of foreman's own routes are put together from, and what every one of them may answer."""

from typing import Any, Final

from foreman.web.openapi_shapes import Schema, ref

PROBLEMS: Final = {
    400: "something in the request is wrong; the detail names it",
    401: "a key is needed",
    403: "this host name or origin is not allowed, or the key lacks a scope, which the detail names",
    404: "there is no such job, or no such key, or it is somebody else's",
    405: "this route takes other methods",
    408: "the body stopped arriving",
    409: "the job is finished, or not finished, or the key was used for another request",
    410: "the job was cancelled and left no answer",
    413: "too large, or too many",
    415: "the body's encoding is not read here",
    416: "beyond the end of the answer",
    429: "too many wrong keys came from this address",
    502: "the job failed and left no answer",
    503: "nothing is accepted right now: the queue is full, foreman stops, or the database takes no writes",
    507: "the disk is full, or this needs more than the machine has",
}
ALWAYS: Final = (401, 403, 429)
WRITES: Final = (503, 507)


def as_json(schema: Schema, text: str, **headers: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": text, "content": {"application/json": {"schema": schema}}}
    if headers:
        named = {name.replace("_", "-"): meaning for name, meaning in headers.items()}
        answer["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in named.items()
        }
    return answer


def operation(
    name: str, summary: str, answers: dict[int | str, dict[str, Any]], *problems: int, **more: object
) -> dict[str, Any]:
    responses = {str(status): answer for status, answer in answers.items()}
    for status in sorted({*problems, *ALWAYS}):
        responses[str(status)] = {
            "description": PROBLEMS[status],
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def located(where: str, name: str, schema: Schema, text: str, **more: object) -> dict[str, Any]:
    return {"name": name, "in": where, "schema": schema, "description": text, **more}
