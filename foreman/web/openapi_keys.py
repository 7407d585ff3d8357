"""The routes and shapes of keys and of the live page's session, as OpenAPI has them; a test replays them."""

from typing import Any, Final

from foreman.core.access import ID_LENGTH, LABEL_LENGTH, SECRET_LENGTH, Scope
from foreman.web.openapi_operations import WRITES, answered, operation, parameter
from foreman.web.openapi_shapes import COUNT, SECONDS, SWITCH, TEXT, TIME, Schema, array, or_null, record, ref, words

KEY_ID: Final[Schema] = {"type": "string", "pattern": f"^[0-9A-Za-z]{{{ID_LENGTH}}}$"}
_SCOPES: Final = array(words(Scope))
_TEXT: Final[Schema] = {"type": "string", "pattern": f"^fm_[0-9A-Za-z]{{{ID_LENGTH + SECRET_LENGTH}}}$"}
_KEY: Final[Schema] = {
    "id": KEY_ID,
    "label": TEXT,
    "scopes": _SCOPES,
    "created_at": or_null(TIME),
    "expires_at": or_null(TIME),
    "revoked_at": or_null(TIME),
    "last_used_at": or_null({**TIME, "description": "written down once a minute"}),
    "usage": record(
        {"jobs": COUNT, "prompt_tokens": COUNT, "output_tokens": COUNT, "busy_seconds": SECONDS},
        description="of its jobs that have ended, those that are gone too",
    ),
}

KEY_SCHEMAS: Final[dict[str, Schema]] = {
    "Key": record(_KEY),
    "Keys": record({"keys": array(record(_KEY), description="all there are, revoked ones too, the oldest first")}),
    "CreatedKey": record({**_KEY, "key": {**_TEXT, "description": "the key itself, which is told this once"}}),
    "NewKey": record(
        {},
        {
            "label": {**TEXT, "maxLength": LABEL_LENGTH, "pattern": "^[ -~]*$"},
            "scopes": array(words(Scope), minItems=1),
            "expires_in_seconds": or_null({"type": "number", "minimum": 1, "maximum": 100 * 366 * 86_400}),
        },
        closed=True,
    ),
    "NewSession": record({"key": {**TEXT, "description": "a key, which is not kept"}}),
    "Session": record(
        {
            "required": {**SWITCH, "description": "whether a key is needed at all"},
            "scopes": array(words(Scope), description="what who asks may do as things are"),
            "label": or_null(TEXT),
        }
    ),
}

KEY_PATHS: Final[dict[str, dict[str, Any]]] = {
    "/keys": {
        "get": operation(
            "list_keys", "All keys, and what was done with each", {200: answered(ref("Keys"), "the keys")}
        ),
        "post": operation(
            "create_key",
            "Make a key",
            {201: answered(ref("CreatedKey"), "it opens from now on, and is told this once")},
            400,
            408,
            413,
            *WRITES,
            requestBody={"content": {"application/json": {"schema": ref("NewKey")}}},
        ),
    },
    "/keys/{id}": {
        "parameters": [parameter("path", "id", KEY_ID, "of the key", required=True)],
        "delete": operation(
            "revoke_key",
            "Have a key open nothing any more; or delete one that was revoked",
            {200: answered(ref("Key"), "it is revoked"), 204: {"description": "it is forgotten"}},
            400,
            404,
            *WRITES,
            parameters=[
                parameter(
                    "query",
                    "forget",
                    {"type": "string", "enum": ["true", "false"], "default": "false"},
                    "delete a revoked key; its jobs stay",
                )
            ],
        ),
    },
    "/ui/session": {
        "get": operation(
            "show_session",
            "Whether the live page needs a key, and what it may do",
            {200: answered(ref("Session"), "as things are")},
            security=[{}],
        ),
        "post": operation(
            "begin_session",
            "Show a key, get a cookie for it",
            {
                204: {
                    "description": "the cookie counts where the page itself asks",
                    "headers": {"Set-Cookie": {"schema": {"type": "string"}}},
                }
            },
            400,
            408,
            413,
            security=[{}],
            requestBody={"required": True, "content": {"application/json": {"schema": ref("NewSession")}}},
        ),
        "delete": operation(
            "end_session", "Have the cookie count no more", {204: {"description": "it has ended"}}, security=[{}]
        ),
    },
}
