"""Creates: what a request for one asks. The target makes a model of others, or of files that it was sent before.

Only its name is understood, and whether it is made of itself; all else is the target's to read, so the body is sent as
it came.
"""

from dataclasses import dataclass
from typing import Final

from foreman.core import names
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.upkeep import Work, fields, load_key

_FIELDS: Final[dict[str, type[str] | type[bool]]] = {"model": str, "name": str, "from": str, "stream": bool}


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """`model` and `source` are names as the client wrote them. `stream`: it wants to see the progress."""

    model: str
    body: bytes
    source: str = ""
    stream: bool = True

    @property
    def key(self) -> LoadKey:
        """Raises InvalidModelName."""
        return load_key(Work.CREATE, self.model)

    @property
    def identity(self) -> bytes:
        """Equal for two requests of one name exactly when they ask for the same."""
        return self.body

    @property
    def once(self) -> bool:
        """Whether asking again may make another model: one that is made of itself is another source the second time."""
        try:
            return names.parse(self.source).canonical == names.parse(self.model).canonical
        except InvalidModelName:
            return False


def read(body: bytes) -> CreateRequest | None:
    """What `body` asks; None where the target would refuse it, or would find no model in it."""
    found = fields(body, _FIELDS)
    if found is None:
        return None
    return CreateRequest(found["model"], body, found.get("from", ""), found.get("stream", True))
