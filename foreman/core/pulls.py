"""Pulls: what a request for one asks, and what a pull is called among the jobs.

A pull needs nothing loaded, so its load key must never be that of a model: it begins with a word and a space, which no
model name can. Equal keys mean the same pull, whoever asked for it.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from foreman.core import names
from foreman.core.body import field_name
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.jsonscan import NotJSON, members
from foreman.core.jsonvalue import scalar
from foreman.core.programs import matches

PULL: Final = "/api/pull"
COMMAND: Final = "ollama pull"
_WORD: Final = "pull "
_FIELDS: Final[dict[str, type[str] | type[bool]]] = {"model": str, "name": str, "insecure": bool, "stream": bool}


@dataclass(frozen=True, slots=True)
class PullRequest:
    """`model` is the name as the client wrote it. `stream`: it wants to see the progress."""

    model: str
    insecure: bool = False
    stream: bool = True

    @property
    def key(self) -> LoadKey:
        """Raises InvalidModelName."""
        return LoadKey(_WORD + names.parse(self.model).canonical, (("insecure", True),) if self.insecure else ())

    @property
    def body(self) -> bytes:
        """What the target is asked: always for the progress, for others may want to see it."""
        asked: dict[str, str | bool] = {"model": self.model, "stream": True}
        if self.insecure:
            asked["insecure"] = True
        return orjson.dumps(asked)


def read(body: bytes) -> PullRequest | None:
    """What `body` asks; None where the target would refuse it, or would find no model in it.

    As Ollama reads it: `model`, or the older `name` where that is empty; null changes nothing.
    """
    found: dict[str, Any] = {}
    try:
        for key, value in members(body):
            name, token = field_name(body[slice(*key)]), scalar(body[slice(*value)])
            kind = _FIELDS.get(name)
            if kind is None or token is None:
                continue
            if not isinstance(token, kind):
                return None
            found[name] = token
    except NotJSON:
        return None
    model = found.get("model") or found.get("name", "")
    return PullRequest(model, found.get("insecure", False), found.get("stream", True)) if model.strip() else None


def typed(line: str) -> str | None:
    """The model (canonical) that a command line fetches with `ollama pull`; None where it is no such command."""
    words = line.split()
    if not matches(COMMAND, words):
        return None
    named = [word for word in words[words.index("pull") + 1 :] if not word.startswith("-")] if "pull" in words else []
    try:
        return names.parse(named[0]).canonical if len(named) == 1 else None
    except InvalidModelName:
        return None


def is_pull(model: str) -> bool:
    """Whether this is the model of a pull, as jobs name it, or its load key; no model is called so."""
    return model.startswith(_WORD)


def pulled(model: str) -> str:
    """The model that a pull of this name fetches (canonical)."""
    return model.removeprefix(_WORD)
