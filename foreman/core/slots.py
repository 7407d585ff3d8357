"""Slots that programs hold themselves, to run a command in a lane: what is asked for, and its name among the jobs.

Such a job needs nothing loaded, so its load key must never be that of a model: it begins with a word and a space, which
no model name can. What the command will take of the memory stands in the key too, as an option.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from foreman.core.errors import BadRequest
from foreman.core.job import LoadKey
from foreman.core.lanes import Lane
from foreman.core.submission import checked_override
from foreman.core.units import TIB, read_bytes

PATH: Final = "/slots"
_WORD: Final = "slot "
_FIELDS: Final = ("lane", "label", "memory", "expiry_seconds", "override")
UNNAMED: Final = "command"
LABEL_LENGTH: Final = 80
MOST_MEMORY: Final = 64 * TIB
# How long after its last heartbeat a slot is freed, where nobody says otherwise; seconds.
EXPIRY_SECONDS: Final = 30.0
SHORTEST_EXPIRY: Final = 1.0
LONGEST_EXPIRY: Final = 3600.0
# So many heartbeats fit into an expiry: two may get lost.
_BEATS: Final = 3


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """`memory` is what the command will probably take, in bytes; None where nobody says.

    `override` is `gate` where the gate is not to be heeded.
    """

    lane: Lane
    label: str = UNNAMED
    memory: int | None = None
    expiry: float = EXPIRY_SECONDS
    override: str | None = None

    @property
    def key(self) -> LoadKey:
        # A question mark would begin the options.
        name = self.label.replace("%", "%25").replace("?", "%3F")
        return LoadKey(_WORD + name, () if self.memory is None else (("memory", self.memory),))

    @property
    def body(self) -> bytes:
        """The request as it is kept with its job; `read` reads it again."""
        return orjson.dumps(
            {
                "lane": self.lane,
                "label": self.label,
                "memory": self.memory,
                "expiry_seconds": self.expiry,
                "override": self.override,
            }
        )

    @property
    def heartbeat(self) -> float:
        """How often to send one, in seconds."""
        return self.expiry / _BEATS


def is_slot(model: str) -> bool:
    """Whether this is the model or the load key of such a job."""
    return model.startswith(_WORD)


def label_of(model: str) -> str:
    """What the command is called."""
    return model.removeprefix(_WORD).replace("%3F", "?").replace("%25", "%")


def memory_of(key: LoadKey) -> int | None:
    return dict(key.options).get("memory")


def read(body: bytes) -> SlotRequest:
    """What a request asks for. Raises BadRequest naming the field."""
    asked = _object(body)
    if unknown := sorted(set(asked) - set(_FIELDS)):
        raise BadRequest(f"{unknown[0][:100]} is unknown; a slot has {', '.join(_FIELDS)}")
    lane = asked.get("lane")
    if not isinstance(lane, str) or lane not in list(Lane):
        raise BadRequest(f"lane must be one of {', '.join(Lane)}")
    return SlotRequest(
        Lane(lane),
        _label(asked.get("label")),
        _memory(asked.get("memory")),
        _expiry(asked.get("expiry_seconds")),
        checked_override(asked.get("override"), "override"),
    )


def exit_status(body: bytes) -> int | None:
    """What the holder of a slot says of its command when it gives it back. Raises BadRequest naming the field."""
    asked = _object(body or b"{}")
    if unknown := sorted(set(asked) - {"exit_status"}):
        raise BadRequest(f"{unknown[0][:100]} is unknown; what gives a slot back has exit_status")
    status = asked.get("exit_status")
    if status is None or (isinstance(status, int) and not isinstance(status, bool) and 0 <= status <= 255):
        return status
    raise BadRequest("exit_status must be a whole number from 0 to 255")


def _object(body: bytes) -> dict[str, object]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(asked, dict):
        raise BadRequest("the body must be an object")
    return asked


def _label(value: object) -> str:
    if value is None:
        return UNNAMED
    if not isinstance(value, str) or not 0 < len(value.strip()) <= LABEL_LENGTH or not value.strip().isprintable():
        raise BadRequest(f"label must be 1 to {LABEL_LENGTH} characters without control characters")
    return value.strip()


def _memory(value: object) -> int | None:
    if value is None:
        return None
    try:
        size = read_bytes(value)
    except ValueError as error:
        raise BadRequest(f"memory must be {error}") from None
    if not 0 < size <= MOST_MEMORY:
        raise BadRequest('memory must be a size above 0 and at most 64 TiB, such as "40GB"')
    return size


def _expiry(value: object) -> float:
    if value is None:
        return EXPIRY_SECONDS
    if isinstance(value, int | float) and not isinstance(value, bool) and SHORTEST_EXPIRY <= value <= LONGEST_EXPIRY:
        return float(value)
    raise BadRequest(f"expiry_seconds must be a number from {SHORTEST_EXPIRY:g} to {LONGEST_EXPIRY:g}")
