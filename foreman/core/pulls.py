"""Pulls: what a request for one asks. Equal keys mean the same pull, whoever asked for it."""

from dataclasses import dataclass
from typing import Final

import orjson

from foreman.core.job import LoadKey
from foreman.core.upkeep import Work, fields, load_key

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
        return load_key(Work.PULL, self.model, (("insecure", True),) if self.insecure else ())

    @property
    def identity(self) -> bytes:
        """Equal for two requests exactly when they ask for the same. Raises InvalidModelName."""
        return str(self.key).encode()

    @property
    def once(self) -> bool:
        """Whether asking again may do something else: never, the target goes on where it was."""
        return False

    @property
    def body(self) -> bytes:
        """What the target is asked: always for the progress, for others may want to see it."""
        asked: dict[str, str | bool] = {"model": self.model, "stream": True}
        if self.insecure:
            asked["insecure"] = True
        return orjson.dumps(asked)


def read(body: bytes) -> PullRequest | None:
    """What `body` asks; None where the target would refuse it, or would find no model in it."""
    found = fields(body, _FIELDS)
    return (
        None if found is None else PullRequest(found["model"], found.get("insecure", False), found.get("stream", True))
    )
