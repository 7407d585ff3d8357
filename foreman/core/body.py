"""What a JSON request body says, read as leniently as Ollama reads it, and the splice of one value.

Rules: only the first JSON value counts and bytes after it are ignored; keys match in any case; of duplicate keys the
last one wins, but null leaves a string as it was, clears everything else, and duplicate `options` merge; bad UTF-8
and lone surrogates are replaced (Go's encoding/json, which decodes every body on the other side).
It must not know what a field means on which route, nor change any byte it was not asked to change.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from foreman.core.jsonscan import members
from foreman.core.jsonvalue import CONTAINER, Scalar, scalar, text

# In bytes. A parser holds up every other thread for a millisecond with each megabyte; crossing values does not.
LARGE: Final = 1 << 20

_FIELDS: Final = frozenset({"model", "stream", "keep_alive", "options", "prompt", "messages", "shift"})
_FOLDING: Final = str.maketrans({"\u017f": "s", "\u212a": "k"})
_SCALARS: Final = (str, int, float, bool, type(None))


@dataclass(slots=True)
class RequestBody:
    """The fields foreman looks at. `has_prompt` and `has_messages`: present and not empty.

    `keep_alive` is None when it is absent or null. It and the options are CONTAINER where the body has an object or
    an array: nothing that Ollama accepts there and foreman needs is one.
    """

    model: str = ""
    stream: bool | None = None
    keep_alive: Scalar = None
    options: dict[str, Scalar] = field(default_factory=dict)
    has_prompt: bool = False
    has_messages: bool = False
    shift: bool | None = None

    @property
    def has_keep_alive(self) -> bool:
        return self.keep_alive is not None


def read(body: bytes) -> RequestBody | None:
    """Read `body`; None when the target too would refuse it, or would find no model in it.

    A body above LARGE is taken at its word: where it is wrong below its top level, the target will say so.
    """
    if len(body) > LARGE:
        return _read_exactly(body, checked=True)
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_exactly(body, checked=False)
    if isinstance(values, dict) and _is_plain(values, body):
        return _read_quickly(values)
    return _read_exactly(body, checked=True)


def set_keep_alive(body: bytes, value: str) -> bytes:
    """Put `value` (a duration such as "30m") in the place of every top-level keep_alive; all other bytes stay.

    `body` must be one that `read` could read. It is returned itself when it has no keep_alive.
    """
    return _spliced(body, "keep_alive", value)


def set_model(body: bytes, model: str) -> bytes:
    """The same for the model: however often it is named, and in whatever case, it is this one then."""
    return _spliced(body, "model", model)


def _spliced(body: bytes, name: str, value: str) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for key, (start, end) in members(body, checked=True):
        if field_name(body[slice(*key)]) == name:
            pieces += (body[position:start], orjson.dumps(value))
            position = end
    return b"".join([*pieces, body[position:]]) if pieces else body


def _is_plain(values: dict[str, Any], body: bytes) -> bool:
    """Whether the last of duplicate keys, which is all that a parser keeps, is all that counts."""
    return (
        all(key.isascii() and key == key.lower() for key in values)
        and isinstance(values.get("model"), str)
        and isinstance(values.get("prompt", ""), str)
        and isinstance(values.get("messages"), list | None)
        and isinstance(values.get("stream"), bool | None)
        and isinstance(values.get("shift"), bool | None)
        and isinstance(values.get("keep_alive"), _SCALARS)
        and isinstance(values.get("options"), dict | None)
        and ("options" not in values or _is_named_once(body))
    )


def _is_named_once(body: bytes) -> bool:
    """Whether there is surely but one key `options`. It can be spelled with escapes too, all of which begin alike."""
    return body.count(b'"options"') == 1 and b"\\u00" not in body


def _read_quickly(values: dict[str, Any]) -> RequestBody | None:
    options = values.get("options") or {}
    found = RequestBody(
        model=values["model"],
        stream=values.get("stream"),
        keep_alive=values.get("keep_alive"),
        options={name: value if isinstance(value, _SCALARS) else CONTAINER for name, value in options.items()},
        has_prompt=bool(values.get("prompt")),
        has_messages=bool(values.get("messages")),
        shift=values.get("shift"),
    )
    return found if found.model else None


def _read_exactly(body: bytes, *, checked: bool) -> RequestBody | None:
    found = RequestBody()
    try:
        for key, value in members(body, checked=checked):
            name = field_name(body[slice(*key)])
            if name in _FIELDS:
                _set(found, name, _token(name, body, *value))
    except ValueError:  # NotJSON is one
        return None
    return found if found.model else None


def _token(name: str, body: bytes, start: int, end: int) -> bytes:
    """The value; a stand-in for a long prompt or conversation, of which only matters that it is not empty."""
    if end - start > LARGE and name in ("prompt", "messages"):
        return {b'"': b'"..."', b"[": b"[0]"}.get(body[start : start + 1], b"{}")
    return body[start:end]


def _set(found: RequestBody, name: str, token: bytes) -> None:
    """What Go does with one more member. A value of a wrong type changes nothing here; Ollama answers it with a 400."""
    value = scalar(token)
    match name, value:
        case "model", str():
            found.model = value
        case "prompt", str():
            found.has_prompt = value != ""
        case ("stream", bool() | None) | ("shift", bool() | None):
            setattr(found, name, value)
        case "keep_alive", _:
            found.keep_alive = value
        case "messages", None:
            found.has_messages = False
        case "messages", () if token[:1] == b"[":
            found.has_messages = token[1:-1].strip(b" \t\r\n") != b""
        case "options", None:
            found.options.clear()
        case "options", () if token[:1] == b"{":
            found.options |= {
                text(token[slice(*option)]): scalar(token[slice(*value)])
                for option, value in members(token, checked=True)
            }


def field_name(key: bytes) -> str:
    """The key as Go compares it with a field name: simple case folding, where two letters beyond ASCII fold into it."""
    return text(key).translate(_FOLDING).lower()
