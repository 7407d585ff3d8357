"""The models a stub has: names as Ollama matches them, and the store behind tags, show, copy and delete.

Names are folded here by a small function of the stub's own, so that a mistake in foreman's is not hidden by sharing it.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from foreman.testing.gojson import Refusal

GIGABYTE: Final = 10**9
DEFAULT_MODELS: Final = ("llama3:latest=4700000000", "qwen3:8b=5200000000", "nomic-embed-text:latest=274000000")

_PART: Final = r"[a-z0-9_][\w.-]{0,79}"
_NAME: Final = re.compile(rf"(([a-z0-9_][\w.:-]{{0,349}}/)?[a-z0-9_][\w-]{{0,79}}/)?{_PART}:{_PART}", re.ASCII)
_BILLIONS: Final = re.compile(r"(\d+(?:\.\d+)?)b\b")
_EMBEDDING: Final = re.compile(r"embed|bge|minilm", re.IGNORECASE)
_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": GIGABYTE}
# A fixed moment in a zone other than UTC: Ollama writes these times with the server's own offset.
_EPOCH: Final = datetime(2026, 1, 2, 3, 4, 5, 123456, timezone(timedelta(hours=2)))


def canonical(name: str) -> str:
    """The one spelling of a model name: `X`, `library/x` and `x:latest` are all `x:latest`."""
    short = name.strip().split("://", 1)[-1].lower()
    if short.endswith(":local"):
        short = short.removesuffix(":local")
    short = short.removeprefix("registry.ollama.ai/").removeprefix("library/")
    return short if ":" in short.rsplit("/", 1)[-1] else f"{short}:latest"


def checked(name: str) -> str:
    """`canonical(name)`. Raises Refusal(400) when Ollama would not take the name."""
    folded = canonical(name)
    if not _NAME.fullmatch(folded):
        raise Refusal(400, "invalid model name")
    return folded


def is_cloud(name: str) -> bool:
    """Whether the name asks for a model of ollama.com: `m:cloud`, `m:tag-cloud`, `m:tag:cloud`."""
    tail = name.strip().lower().rsplit("/", 1)[-1].partition(":")[2]
    return tail == "cloud" or tail.endswith(("-cloud", ":cloud"))


def size_of(text: str) -> int:
    """Bytes in `4700000000`, `4.7GB` or `274MB`. Raises ValueError."""
    if not (match := re.fullmatch(r"([\d.]+)\s*([KMG]?B?)", text.strip().upper())):
        raise ValueError(f"not a size: {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True, slots=True, kw_only=True)
class StubModel:
    """One model. `load_seconds` overrides the stub's own.

    `weights` names the blob that copies and children share, `parent` the model a child was created from.
    """

    name: str
    size: int = 4 * GIGABYTE
    capabilities: tuple[str, ...] = ("completion", "vision", "tools", "thinking")
    load_seconds: float | None = None
    modified_at: datetime = _EPOCH
    weights: str = ""
    parent: str = ""
    remote_host: str = ""

    @classmethod
    def parse(cls, text: str) -> "StubModel":
        """A model from `name`, `name:tag` or `name:tag=SIZE`; without one a tag like `8b` tells the size.

        Raises ValueError on a bad size, Refusal on a bad name.
        """
        name, _, size = text.partition("=")
        model = cls(name=checked(name))
        if size:
            model = dataclasses.replace(model, size=size_of(size))
        elif billions := _BILLIONS.search(name.lower()):
            model = dataclasses.replace(model, size=int(float(billions[1]) * 600_000_000))
        if _EMBEDDING.search(name):
            model = dataclasses.replace(model, capabilities=("embedding",))
        return model

    @property
    def embedding_only(self) -> bool:
        return "completion" not in self.capabilities

    @property
    def family(self) -> str:
        return "nomic-bert" if self.embedding_only else "llama"

    @property
    def blob(self) -> str:
        """What a runner is keyed by: the weights, not the name (Ollama: schedulerModelKey)."""
        return self.weights or self.name

    @property
    def digest(self) -> str:
        """Of the manifest, so a copy shares it and a child does not: 64 hex digits, without a `sha256:` prefix."""
        own = self.name if self.parent else ""
        return hashlib.sha256(f"{self.blob} {self.size} {own}".encode()).hexdigest()


class Library:
    """The models by canonical name. Every change makes a model newer than all before it."""

    def __init__(self, models: Iterable[str | StubModel]) -> None:
        self._models: dict[str, StubModel] = {}
        self._changes = 0
        for model in models:
            self.add(StubModel.parse(model) if isinstance(model, str) else model)

    def newest_first(self) -> list[StubModel]:
        return sorted(self._models.values(), key=lambda model: model.modified_at, reverse=True)

    def find(self, name: str) -> StubModel | None:
        return self._models.get(canonical(name))

    def add(self, model: StubModel) -> None:
        self._changes += 1
        name = canonical(model.name)
        modified = _EPOCH + timedelta(seconds=self._changes)
        self._models[name] = dataclasses.replace(model, name=name, modified_at=modified)

    def copy(self, source: StubModel, destination: str) -> None:
        self.add(dataclasses.replace(source, name=destination, weights=source.blob))

    def delete(self, name: str) -> StubModel | None:
        """The model that was taken away, or None."""
        return self._models.pop(canonical(name), None)
