"""What the target has and what it holds in memory, read from its own answers.

`Inventory` is the list of models (/api/tags), `Runner` one loaded model (/api/ps). Both are snapshots: who takes them,
and when, is the poller's business. Names are canonical (see names.py): two spellings of one model compare equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from foreman.core.errors import InvalidModelName
from foreman.core.lanes import Lane
from foreman.core.names import ModelName, parse

# Families that only embed; used where a target older than v0.30 states no capabilities.
EMBEDDING_FAMILIES: Final = frozenset({"bert", "nomic-bert", "nomic-bert-moe", "xlmroberta", "gte", "gemma-embedding"})


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of /api/tags. `remote` means that it runs elsewhere and takes no memory here."""

    name: str
    canonical: str
    digest: str
    size: int
    created: int
    owned_by: str
    remote: bool = False
    embedding: bool = False


@dataclass(frozen=True, slots=True)
class Runner:
    """One entry of /api/ps. Sizes in bytes; `expires_at` as the target wrote it (RFC 3339)."""

    name: str
    canonical: str
    digest: str = ""
    size: int = 0
    size_vram: int = 0
    context_length: int | None = None
    expires_at: str = ""
    embedding: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """The models of the target at one moment. `tags` is the target's own answer, byte for byte."""

    tags: bytes
    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    listing: bytes = b""

    @classmethod
    def of(cls, tags: bytes) -> "Inventory":
        """Read an /api/tags answer. Raises ValueError where it is none."""
        entries = _entries(tags)
        models = [model for entry in entries if (model := _model(entry)) is not None]
        return cls(tags, MappingProxyType({model.canonical: model for model in models}), _listing(models))

    def find(self, name: ModelName) -> Model | None:
        return self.models.get(name.canonical)

    def aliases(self, canonical: str) -> tuple[str, ...]:
        """Every name of the same weights (equal digest), the given one first: Ollama runs them in one runner."""
        model = self.models.get(canonical)
        if model is None or not model.digest:
            return (canonical,)
        others = (m.canonical for m in self.models.values() if m.digest == model.digest and m.canonical != canonical)
        return (canonical, *others)

    def is_embedding(self, canonical: str) -> bool:
        model = self.models.get(canonical)
        return model is not None and model.embedding

    def is_remote(self, canonical: str) -> bool:
        """Whether the model runs elsewhere: its name says so, or the target."""
        model = self.models.get(canonical)
        return parse(canonical).is_cloud or (model is not None and model.remote)

    def lane(self, canonical: str) -> Lane:
        """The lane of jobs for this model."""
        return Lane.REMOTE if self.is_remote(canonical) else Lane.LOCAL


EMPTY: Final = Inventory(b'{"models":[]}', MappingProxyType({}), b'{"object":"list","data":[]}\n')


def entry_v1(model: Model, requested: str) -> dict[str, object]:
    """One model as /v1/models states it; `id` is the name as it was asked for."""
    return {"id": requested, "object": "model", "created": model.created, "owned_by": model.owned_by}


def runners_of(ps: bytes) -> tuple[Runner, ...]:
    """Read an /api/ps answer. Raises ValueError where it is none."""
    return tuple(runner for entry in _entries(ps) if (runner := _runner(entry)) is not None)


def _entries(answer: bytes) -> list[dict[str, Any]]:
    parsed = orjson.loads(answer)
    models = parsed.get("models") if isinstance(parsed, dict) else None
    if not isinstance(models, list):
        raise ValueError("the answer holds no list of models")
    return [entry for entry in models if isinstance(entry, dict)]


def _name(entry: dict[str, Any]) -> tuple[str, ModelName] | None:
    text = _text(entry.get("model") or entry.get("name"))
    try:
        return text, parse(text)
    except InvalidModelName:
        return None


def _model(entry: dict[str, Any]) -> Model | None:
    named = _name(entry)
    if named is None:
        return None
    text, name = named
    return Model(
        name=text,
        canonical=name.canonical,
        digest=_text(entry.get("digest")),
        size=_whole(entry.get("size")) or 0,
        created=_unix(entry.get("modified_at")),
        owned_by=name.namespace,
        remote=name.is_cloud or bool(entry.get("remote_host")),
        embedding=_embeds(entry),
    )


def _runner(entry: dict[str, Any]) -> Runner | None:
    named = _name(entry)
    if named is None:
        return None
    text, name = named
    return Runner(
        name=text,
        canonical=name.canonical,
        digest=_text(entry.get("digest")),
        size=_whole(entry.get("size")) or 0,
        size_vram=_whole(entry.get("size_vram")) or 0,
        context_length=_whole(entry.get("context_length")),
        expires_at=_text(entry.get("expires_at")),
        embedding=_embeds(entry),
    )


def _embeds(entry: dict[str, Any]) -> bool:
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, list) and capabilities:
        return "embedding" in capabilities and "completion" not in capabilities
    details = entry.get("details")
    return isinstance(details, dict) and _text(details.get("family")) in EMBEDDING_FAMILIES


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _unix(value: object) -> int:
    try:
        time = datetime.fromisoformat(_text(value))
    except ValueError:
        return 0
    # A time without a zone must not mean another moment on another machine.
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def _listing(models: list[Model]) -> bytes:
    # Ollama answers `"data":null` where it has no model; a list is what every client expects.
    data = [entry_v1(model, model.name) for model in models]
    return orjson.dumps({"object": "list", "data": data}, option=orjson.OPT_APPEND_NEWLINE)
