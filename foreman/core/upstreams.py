"""The remote APIs that are configured beside the target: which request goes to which of them, and as what.

Rules:
1. A request's model decides, and nothing else in it: `NAME/model`, or a model that one of them lists.
2. No model is claimed by two of them.
It must not know their keys, nor how they are reached.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.slots import is_slot

UPSTREAM_PATHS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
"""The requests that an OpenAI-compatible API takes."""

# No model of the target begins with it, so a load key says by itself whose job it is.
MARK: Final = "@"
# A load key ends at a question mark.
_MODEL: Final = re.compile(r"[!->@-~]{1,200}")


class Claiming(Protocol):
    """An upstream as far as its models are concerned: exact names, or beginnings that end in `*`."""

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> tuple[str, ...]: ...


def needs_target(load_key: str) -> bool:
    """Whether a job of this load key goes to the target: neither to a remote API nor, as a command, nowhere at all."""
    return upstream_of(load_key) is None and not is_slot(load_key)


def listed(upstream: Claiming) -> tuple[str, ...]:
    """The models that can be listed by name."""
    return tuple(model for model in upstream.models if not model.endswith("*"))


@dataclass(frozen=True, slots=True)
class Routed:
    """A request for the upstream `name`; `model` is what the model is called there."""

    name: str
    model: str

    @property
    def shown(self) -> str:
        """The model as people see it."""
        return f"{self.name}/{self.model}"

    @property
    def key(self) -> LoadKey:
        """The load key of its jobs. Nothing is loaded for it; it says where they go, also after a restart."""
        return LoadKey(f"{MARK}{self.shown}")


def route(upstreams: Sequence[Claiming], path: str, model: str) -> Routed | None:
    """Where a request goes; None for the target. Raises InvalidModelName."""
    if path not in UPSTREAM_PATHS:
        return None
    found = named(upstreams, model)
    if found is not None and _MODEL.fullmatch(found.model) is None:
        raise InvalidModelName("invalid model name")
    return found


def named(upstreams: Sequence[Claiming], model: str) -> Routed | None:
    """Whose model this is: that of the name before the slash, else of who lists it."""
    prefix, slash, rest = model.partition("/")
    for upstream in upstreams:
        if slash and upstream.name == prefix:
            return Routed(prefix, rest)
    for upstream in upstreams:
        if any(_covers(pattern, model) for pattern in upstream.models):
            return Routed(upstream.name, model)
    return None


def upstream_of(load_key: str) -> str | None:
    """The upstream that the jobs of a load key are for; None for the target."""
    return load_key[len(MARK) :].partition("/")[0] if load_key.startswith(MARK) else None


def conflicts(upstreams: Sequence[Claiming]) -> Iterator[tuple[int, str, Claiming]]:
    """What is claimed twice: the place of the later upstream, the model, and who has it already."""
    for place, later in enumerate(upstreams):
        for model in later.models:
            for earlier in upstreams[:place]:
                if model.startswith(f"{earlier.name}/") or any(_overlap(model, other) for other in earlier.models):
                    yield place, model, earlier
        for earlier in upstreams[:place]:
            for model in earlier.models:
                if model.startswith(f"{later.name}/"):
                    yield place, model, earlier


def _covers(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _overlap(one: str, other: str) -> bool:
    """Whether a model can fit both."""
    if one.endswith("*") and other.endswith("*"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    return _covers(one, other) or _covers(other, one)
