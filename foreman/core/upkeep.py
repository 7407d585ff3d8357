"""Upkeep: work on the target's store of models, which fetches or makes one and runs none.

Such a job needs nothing loaded, so its load key must never be that of a model: it begins with a word and a space, which
no model name can. It is everybody's: who asks for the same joins it. Its answer is progress, not content: the lines of
a further attempt may follow those of one that broke off.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from foreman.core import names
from foreman.core.body import field_name
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.jsonscan import NotJSON, members
from foreman.core.jsonvalue import scalar
from foreman.core.programs import matches

PULL: Final = "/api/pull"
CREATE: Final = "/api/create"
PATHS: Final = (PULL, CREATE)


class Work(StrEnum):
    """What is done; the word that the load key begins with."""

    PULL = "pull"
    CREATE = "create"


_WORDS: Final = {f"{work} ": work for work in Work}
_BEGINNINGS: Final = tuple(_WORDS)

# What a client of foreman may be called that waits for its upkeep.
CLIENTS: Final = tuple(f"ollama {work}" for work in Work)


def load_key(work: Work, model: str, options: tuple[tuple[str, int | bool], ...] = ()) -> LoadKey:
    """What such a job is called; `model` as the client wrote it. Raises InvalidModelName."""
    return LoadKey(f"{work} {names.parse(model).canonical}", options)


def is_upkeep(model: str) -> bool:
    """Whether this is the model of such a job, as jobs name it, or its load key; no model is called so."""
    return model.startswith(_BEGINNINGS)


def work_of(model: str) -> Work | None:
    """What such a job does; None where it is none."""
    word, space, _ = model.partition(" ")
    return _WORDS.get(word + space)


def subject(model: str) -> str:
    """The model that such a job fetches or makes (canonical)."""
    return model.partition(" ")[2]


def typed(line: str) -> frozenset[str]:
    """The jobs, as they are called, that a command line may be waiting for; empty where it is no such client."""
    words = line.split()
    for work, client in zip(Work, CLIENTS, strict=True):
        if matches(client, words) and work in words:
            return frozenset(_called(work, words[words.index(work) + 1 :]))
    return frozenset()


def _called(work: Work, words: Iterable[str]) -> Iterator[str]:
    """What a flag says is no model, but cannot be told from one."""
    for word in words:
        with suppress(InvalidModelName):
            if not word.startswith("-"):
                yield load_key(work, word).model


def fields(body: bytes, kinds: dict[str, type[str] | type[bool]]) -> dict[str, Any] | None:
    """The members of a request that are looked at; None where the target would refuse it, or would find no model in it.

    As Ollama reads it: `model`, or the older `name` where that is empty; null changes nothing.
    """
    found: dict[str, Any] = {}
    try:
        for key, value in members(body):
            name = field_name(body[slice(*key)])
            kind = kinds.get(name)
            token = None if kind is None else scalar(body[slice(*value)])
            if kind is None or token is None:
                continue
            if not isinstance(token, kind):
                return None
            found[name] = token
    except NotJSON:
        return None
    found["model"] = found.get("model") or found.pop("name", "")
    return found if found["model"].strip() else None
