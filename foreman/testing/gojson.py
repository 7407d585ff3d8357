"""JSON the way Go's encoding/json reads and writes it, as far as a client can tell.

Rules: the first value counts and trailing bytes do not, keys match in any case with the last duplicate winning,
invalid UTF-8 is replaced; on output `<`, `>`, `&`, U+2028 and U+2029 are escaped and other text stays UTF-8.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

Fields = dict[str, Any]

_ESCAPES: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
_DECODER: Final = json.JSONDecoder()


class Refusal(Exception):
    """The request is answered with `status` and this text in the error shape of its API."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def encode(value: Mapping[str, Any] | list[Any]) -> bytes:
    """Compact JSON without a newline, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES).encode()


def decode(body: bytes, *, empty: str = "missing request body") -> Fields:
    """The object a Go server would see in `body`.

    Raises Refusal(400): with `empty` when there is no body, else with the decoder's text.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        raise Refusal(400, empty)
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(400, _syntax_text(text, error)) from error
    except RecursionError as error:
        raise Refusal(400, "exceeded max depth") from error
    if not isinstance(value, dict):
        raise Refusal(400, f"json: cannot unmarshal {_kind(value)} into Go value of type api.Request")
    return _folded(value)


def _folded(value: Fields) -> Fields:
    """Keys of the request and of its messages in lower case; maps such as `options` are left alone."""
    fields = {key.lower(): item for key, item in value.items()}
    if isinstance(messages := fields.get("messages"), list):
        fields["messages"] = [
            {key.lower(): item for key, item in message.items()} if isinstance(message, dict) else message
            for message in messages
        ]
    return fields


def _syntax_text(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    return f"invalid character '{text[error.pos]}' looking for beginning of value"


def _kind(value: object) -> str:
    kinds = ((bool, "bool"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "number")
