"""The table of inference APIs: what each wants of a request and how it refuses one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from foreman.testing.answers import anthropic, ollama, openai, responses
from foreman.testing.answers.answer import Answer, go_json
from foreman.testing.form import form_fields
from foreman.testing.gojson import Fields, Refusal, decode, encode
from foreman.testing.models import StubModel
from foreman.testing.reply import Reply


class Shape(StrEnum):
    """Whose error object an API answers with."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


def refused(shape: Shape, error: Refusal) -> Answer:
    """The error in the API's own shape."""
    if shape is Shape.OLLAMA:
        body = encode({"error": error.text})
        return Answer(error.status, "application/json; charset=utf-8", (body,))
    if shape is Shape.ANTHROPIC:
        detail = {"type": _ANTHROPIC_TYPES.get(error.status, "api_error"), "message": error.text}
        return go_json({"type": "error", "error": detail, "request_id": "req_0123456789abcdef"}, error.status)
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(error.status, "api_error")
    return go_json({"error": {"message": error.text, "type": kind, "param": None, "code": None}}, error.status)


_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def _nothing_wanted(_: Fields) -> None:
    """Any request will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One inference route. `verb` is what a model that cannot do it "does not support"."""

    path: str
    shape: Shape
    capability: str
    verb: str
    answer: Callable[[Fields, Reply], Answer]
    no_model: tuple[int, str]
    empty: str = "EOF"
    unknown: str = "model '{}' not found"
    loads_when_empty: str = ""
    wants: Callable[[Fields], None] = _nothing_wanted
    form: bool = False

    def read(self, body: bytes, content_type: str) -> Fields:
        """The request's fields. Raises Refusal(400) when it cannot be read or misses something."""
        fields = form_fields(body, content_type) if self.form else decode(body, empty=self.empty)
        self.wants(fields)
        return fields

    def model_name(self, fields: Fields) -> str:
        """Raises Refusal when the request names no model."""
        name = fields.get("model")
        if name is not None and not isinstance(name, str):
            raise Refusal(400, "json: cannot unmarshal value into Go struct field .model of type string")
        if not name or not name.strip():
            raise Refusal(*self.no_model)
        return name

    def only_loads(self, fields: Fields) -> bool:
        """Whether the request has nothing to say, which on Ollama's own routes loads or unloads the model."""
        return bool(self.loads_when_empty) and not fields.get(self.loads_when_empty) and not fields.get("images")

    def check(self, name: str, model: StubModel, fields: Fields) -> None:
        """Raises Refusal(400) when the model cannot do what is asked."""
        if self.capability not in model.capabilities and not (self.capability == "embedding"):
            raise Refusal(400, f'"{name}" does not support {self.verb}')
        if fields.get("tools") and "tools" not in model.capabilities:
            raise Refusal(400, f"registry.ollama.ai/library/{model.name} does not support tools")
        if fields.get("think") and "thinking" not in model.capabilities:
            raise Refusal(400, f'"{name}" does not support thinking')


def _without_reply(render: Callable[[Fields], Answer]) -> Callable[[Fields, Reply], Answer]:
    return lambda fields, _: render(fields)


_REQUIRED: Final = (400, "model is required")
_EMPTY: Final = (404, "model '' not found")

_GENERATES: Final = {"capability": "completion", "verb": "generate", "no_model": _EMPTY}
_CHATS: Final = {"capability": "completion", "verb": "chat", "no_model": _REQUIRED}
_EMBEDS: Final = {
    "capability": "embedding",
    "verb": "embeddings",
    "no_model": _EMPTY,
    "unknown": 'model "{}" not found, try pulling it first',
}
_OLLAMA: Final = {"shape": Shape.OLLAMA, "empty": "missing request body"}
_OPENAI: Final = {"shape": Shape.OPENAI}
_ANTHROPIC: Final = {"shape": Shape.ANTHROPIC}


def _api(path: str, answer: Callable[[Fields, Reply], Answer], *parts: Mapping[str, Any], **more: Any) -> Api:
    fields = {name: value for part in (*parts, more) for name, value in part.items()}
    return Api(path=path, answer=answer, **fields)


APIS: Final = (
    _api("/api/generate", ollama.generate, _OLLAMA, _GENERATES, loads_when_empty="prompt"),
    _api("/api/chat", ollama.chat, _OLLAMA, _CHATS, loads_when_empty="messages"),
    _api("/api/embed", _without_reply(ollama.embed), _OLLAMA, _EMBEDS),
    _api("/api/embeddings", _without_reply(ollama.embeddings), _OLLAMA, _EMBEDS, no_model=_REQUIRED),
    _api("/v1/chat/completions", openai.chat, _OPENAI, _CHATS, wants=openai.chat_wants),
    _api("/v1/completions", openai.completions, _OPENAI, _GENERATES, wants=openai.completions_wants),
    _api("/v1/embeddings", _without_reply(openai.embeddings), _OPENAI, _EMBEDS, wants=openai.embeddings_wants),
    _api("/v1/responses", responses.responses, _OPENAI, _CHATS),
    _api("/v1/messages", anthropic.messages, _ANTHROPIC, _CHATS, wants=anthropic.wants),
    _api("/v1/audio/transcriptions", openai.transcription, _OPENAI, _CHATS, form=True),
)
