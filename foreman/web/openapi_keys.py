"""The shapes of keys and of the live page's session, as JSON Schema; `keys.py` makes them, and a test replays them."""

from typing import Final

from foreman.core.access import ID_LENGTH, LABEL_LENGTH, SECRET_LENGTH, Scope
from foreman.web.openapi_shapes import COUNT, SECONDS, SWITCH, TEXT, TIME, Schema, array, or_null, record, words

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
