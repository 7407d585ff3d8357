"""What the stub says: a pure function of the request, so that a test can compute it beforehand.

The words depend on the model and the text of the prompt alone; the same prompt gets the same words on every API.
They hold what trips a careless reader: characters of two to four bytes, quotes, and `<`, `>`, `&`, which Go escapes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

from foreman.testing.gojson import Fields, decode
from foreman.testing.models import canonical

DEFAULT_TOKENS: Final = 16

_WORDS: Final = (
    *("the", "queue", "drains", "slowly", "größe", "naïve", "日本語", "🙂", "<b>", "fish & chips", '"quoted"', "a\\b"),
    *("line\nbreak", "señor", "über", "кот", "token", "model", "loads", "once", "again", "never", "waits", "work"),
)


def words(seed: str) -> Iterator[str]:
    """Endless tokens for `seed`; all but the first begin with a space."""
    yield _WORDS[hashlib.sha256(seed.encode(errors="replace")).digest()[0] % len(_WORDS)]
    for block in count(1):
        for byte in hashlib.sha256(f"{block} {seed}".encode(errors="replace")).digest():
            yield " " + _WORDS[byte % len(_WORDS)]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function the request offered."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it takes the shape of an API. `thinking` and `tokens` are counts."""

    seed: str
    tokens: int
    thinking: int = 0
    calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 1
    cut: bool = False

    def text(self) -> Iterator[str]:
        return islice(words(self.seed), self.tokens)

    def thoughts(self) -> Iterator[str]:
        return islice(words(f"thinking about {self.seed}"), self.thinking)

    @property
    def done_reason(self) -> str:
        return "length" if self.cut else "stop"


def reply_to(fields: Fields, tokens: int = DEFAULT_TOKENS) -> Reply:
    """The reply of a stub that says `tokens` tokens unless the request wants fewer."""
    model, prompt = canonical(_string(fields.get("model"))), prompt_of(fields)
    calls, limit = _calls(fields, prompt), _limit(fields)
    spoken = 0 if calls else tokens if limit is None else min(tokens, limit)
    return Reply(
        seed=f"{model} {prompt}",
        tokens=spoken,
        thinking=4 if _thinks(fields) else 0,
        calls=calls,
        prompt_tokens=max(1, len(prompt.split())),
        cut=not calls and spoken < tokens,
    )


def expected_text(body: bytes | Mapping[str, Any], tokens: int = DEFAULT_TOKENS) -> str:
    """The text a stub answers to a request body of any inference API, thinking left out."""
    fields = decode(body) if isinstance(body, bytes) else dict(body)
    return "".join(reply_to(fields, tokens).text())


def prompt_of(fields: Fields) -> str:
    """The text a request asks about: its prompt, messages or input; empty for a load request."""
    for name in ("prompt", "messages", "input"):
        if value := fields.get(name):
            return _text(value)
    return ""


def _text(value: object) -> str:
    """The text in a string, a message, a part of a message, or a list of these."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    if isinstance(value, dict):
        return _text(value.get("content") or value.get("text") or "")
    return _string(value)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _limit(fields: Fields) -> int | None:
    options = fields.get("options")
    wanted = options.get("num_predict") if isinstance(options, dict) else None
    for value in (wanted, fields.get("max_tokens"), fields.get("max_output_tokens")):
        if isinstance(value, int | float) and value > 0:
            return int(value)
    return None


def _thinks(fields: Fields) -> bool:
    reasoning = fields.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else fields.get("reasoning_effort")
    thinking = fields.get("thinking")
    enabled = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    return bool(fields.get("think")) or enabled or effort not in (None, "none")


def _calls(fields: Fields, prompt: str) -> tuple[ToolCall, ...]:
    """One call of the first tool, when tools are offered and the prompt speaks of a "tool"."""
    tools = fields.get("tools")
    if not isinstance(tools, list) or not tools or "tool" not in prompt:
        return ()
    # Ollama and OpenAI chat nest under `function`; Responses is flat; Anthropic says `input_schema`.
    function = tools[0].get("function", tools[0])
    schema = function.get("parameters") or function.get("input_schema") or {}
    arguments = {name: _example(name, kind) for name, kind in schema.get("properties", {}).items()}
    mark = hashlib.sha256(prompt.encode()).hexdigest()[:8]
    return (ToolCall(f"call_{mark}", function.get("name", ""), arguments),)


def _example(name: str, schema: Mapping[str, Any]) -> object:
    values: dict[object, object] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
    kind = schema.get("type")
    return values.get(kind if isinstance(kind, str) else "", f"some {name}")
