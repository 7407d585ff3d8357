"""Model names: what a caller's text means, when two texts are one model, when Ollama would refuse it.

Rules: they are Ollama's own (internal/modelref, types/model/name.go of v0.33), followed step by step and not improved.
It must not know which models exist, nor on which route a name was sent.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal

import orjson

from foreman.core.errors import InvalidModelName

Source = Literal["", "local", "cloud"]

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

# What Go's strings.TrimSpace removes; str.strip() would also remove \x1c to \x1f.
_SPACES: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_ABSENT: Final = "!"  # stands where a separator promised a part and none came; not valid in any part

_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL_OR_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class ModelName:
    """A valid name with all its defaults filled in, spelled as the caller spelled it.

    `source` is what the suffix asked for: ":cloud" and "-cloud" run on ollama.com, ":local" never does.
    """

    host: str
    namespace: str
    model: str
    tag: str
    source: Source = ""

    @cached_property
    def display(self) -> str:
        """The name as /api/tags shows it: default host and namespace left out, the tag always there."""
        name = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{name}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{name}"
        return name

    @cached_property
    def canonical(self) -> str:
        """Equal for two names exactly when Ollama takes them for one model (it compares without regard to case).

        Itself a name: parsing it gives the same model, in the cloud too.
        """
        return f"{self.display}-cloud".lower() if self.is_cloud else self.display.lower()

    @property
    def is_cloud(self) -> bool:
        return self.source == "cloud"


def parse(text: str) -> ModelName:
    """Read a model name as a client wrote it.

    Raises InvalidModelName with Ollama's own words: `model is required`, `invalid model name`,
    or `use either :local or :cloud, not both: "<text>"`.
    """
    # Valid names are short, so what is remembered is too.
    return _parse(text.strip(_SPACES))


@lru_cache(maxsize=4096)
def _parse(trimmed: str) -> ModelName:
    if not trimmed:
        raise InvalidModelName("model is required")
    base, source = _cut_source(trimmed)
    if source and _cut_source(base)[1]:
        raise InvalidModelName(f"use either :local or :cloud, not both: {orjson.dumps(trimmed).decode()}")
    name = _split(base, source)
    valid = (
        _HOST.fullmatch(name.host)
        and _NAMESPACE.fullmatch(name.namespace)
        and _MODEL_OR_TAG.fullmatch(name.model)
        and _MODEL_OR_TAG.fullmatch(name.tag)
    )
    if not valid:
        raise InvalidModelName("invalid model name")
    return name


def _cut_source(text: str) -> tuple[str, Source]:
    head, colon, tail = text.rpartition(":")
    if not colon:
        return text, ""
    tail = tail.strip(_SPACES)
    word = tail.lower()
    if word == "cloud":
        return head, "cloud"
    if word == "local":
        return head, "local"
    if word.endswith("-cloud") and "/" not in tail:
        return f"{head}:{tail[: -len('-cloud')]}", "cloud"
    return text, ""


def _split(text: str, source: Source) -> ModelName:
    tag, host, namespace = DEFAULT_TAG, "", ""
    if text.rfind(":") > text.rfind("/"):
        text, tag = _cut_last(text, ":")
    rest, model = _cut_last(text, "/") if "/" in text else ("", text)
    if rest:
        rest, namespace = _cut_last(rest, "/") if "/" in rest else ("", rest)
    if rest:
        scheme, separator, address = rest.partition("://")
        host = address if separator else scheme
    return ModelName(host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag, source)


def _cut_last(text: str, separator: str) -> tuple[str, str]:
    head, _, tail = text.rpartition(separator)
    return head or _ABSENT, tail or _ABSENT
