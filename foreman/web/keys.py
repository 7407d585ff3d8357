"""Keys over HTTP, and the session of the live page.

A key is told in the answer that makes it and never again. Who makes one must not give it more than he has, which only
`admin` could.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from foreman.core.access import USUAL, Key, Scope, Usage, read_label, read_scopes, shown_scopes
from foreman.core.errors import BadRequest, KeyRefused
from foreman.engine.clock import millis
from foreman.web.app_keys import ENGINE
from foreman.web.bodies import read_body
from foreman.web.cookie import COOKIE, from_the_page
from foreman.web.guard import CALLER, GUARD
from foreman.web.jobs import answer_json
from foreman.web.jobview import moment

BODY_BYTES: Final = 16 * 1024
EXPIRY_LIMIT: Final = 100 * 366 * 86_400


async def listed(request: web.Request) -> web.Response:
    keys = await request.app[ENGINE].keyring.listed()
    return answer_json({"keys": [key_view(key, usage) for key, usage in keys]})


async def created(request: web.Request) -> web.Response:
    """Raises BadRequest naming the field."""
    engine = request.app[ENGINE]
    asked = _object(await read_body(request, BODY_BYTES))
    if unknown := sorted(set(asked) - {"label", "scopes", "expires_in_seconds"}):
        raise BadRequest(f"{unknown[0]} is unknown; a key has label, scopes and expires_in_seconds")
    label = _field("label", read_label, _text(asked, "label"))
    words = asked.get("scopes", sorted(USUAL))
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadRequest("scopes must be an array of words")
    scopes = _field("scopes", read_scopes, words)
    expires = _expiry(asked.get("expires_in_seconds"), millis(engine.clock))
    token, key = await engine.keyring.create(label, scopes, expires)
    return answer_json({"key": token, **key_view(key, Usage())}, 201, {"Cache-Control": "no-store"})


async def revoked(request: web.Request) -> web.Response:
    """Revoke; or with ?forget=true delete one that is revoked. Raises BadRequest and KeyNotFound."""
    keyring, found = request.app[ENGINE].keyring, request.match_info["id"]
    forget = request.query.get("forget", "false")
    if forget not in ("true", "false"):
        raise BadRequest("forget must be true or false")
    if forget == "true":
        await keyring.forget(found)
        return web.Response(status=204)
    key = await keyring.revoke(found)
    usage = {each.id: usage for each, usage in await keyring.listed()}
    return answer_json(key_view(key, usage.get(key.id, Usage())))


async def session(request: web.Request) -> web.Response:
    """Whether a key is needed, and what the page may as things are."""
    caller = request[CALLER]
    return answer_json(
        {
            "required": request.app[ENGINE].keyring.demanded,
            "scopes": [scope for scope in Scope if scope in caller.scopes],
            "label": caller.label or None,
        },
        headers={"Cache-Control": "no-store"},
    )


async def begun(request: web.Request) -> web.Response:
    """Show a key, get a cookie. Raises BadRequest, KeyRefused and TooManyFailures."""
    asked = _object(await read_body(request, BODY_BYTES))
    guard = request.app[GUARD]
    caller = guard.caller_of(_text(asked, "key"), request.remote)
    answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
    token = guard.sessions.begin(caller.key_id)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
    return answer


async def ended(request: web.Request) -> web.Response:
    """Raises KeyRefused where it is not the page that asks."""
    if COOKIE in request.cookies and not from_the_page(request.method, request.headers):
        raise KeyRefused("only the page itself ends its session")
    request.app[GUARD].sessions.end(request.headers)
    answer = web.Response(status=204)
    answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
    return answer


def key_view(key: Key, usage: Usage) -> dict[str, object]:
    """A key as it is shown: all but itself."""
    return {
        "id": key.id,
        "label": key.label,
        "scopes": shown_scopes(key.scopes).split(","),
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
        "last_used_at": moment(key.last_used_at),
        "usage": {
            "jobs": usage.jobs,
            "prompt_tokens": usage.prompt_tokens,
            "output_tokens": usage.output_tokens,
            "busy_seconds": usage.busy_ms / 1000,
        },
    }


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        asked = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(asked, dict):
        raise BadRequest("the body must be an object")
    return asked


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise BadRequest(f"{name} must be text")
    return value


def _field(name: str, read: Any, value: object) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise BadRequest(f"{name} {error}") from error


def _expiry(value: object, now: int) -> int | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= EXPIRY_LIMIT:  # type: ignore[operator]
        raise BadRequest("expires_in_seconds must be a number of seconds above 0, and within a hundred years")
    return now + int(value * 1000)  # type: ignore[operator]
