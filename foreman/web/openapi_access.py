"""Keys and sessions, as OpenAPI has them."""

from typing import Any, Final

from foreman.web.openapi_keys import KEY_ID
from foreman.web.openapi_operations import WRITES, answered, operation, parameter
from foreman.web.openapi_shapes import ref

ACCESS_PATHS: Final[dict[str, dict[str, Any]]] = {
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
