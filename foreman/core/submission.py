"""What is handed in to become a job, and how the same thing handed in twice is known again."""

import hashlib
from dataclasses import dataclass
from typing import Final

from foreman.core.errors import BadRequest
from foreman.core.job import LoadKey, Mode, Payload
from foreman.core.lanes import Lane

KEY_LENGTH: Final = 255
GATE: Final = "gate"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that is to become a job.

    `hash` is that of the request as the client sent it, where it may be
    sent again: with an `idem_key`, or by an SDK that counts its retries. `again`: this may be such a retry. Upkeep of
    the store is the same whoever asks for it, so its hash is that of what it asks for.
    `not_before` is unix milliseconds, 0 for at once. `model` is what people see, where it is not that of the key.
    `override` is `gate` where the gate is not to be heeded. `once`: it is not tried again.
    """

    payload: Payload
    key: LoadKey
    client: str
    mode: Mode = Mode.ATTACHED
    not_before: int = 0
    idem_key: str | None = None
    hash: bytes | None = None
    again: bool = False
    retry_of: str | None = None
    lane: Lane = Lane.LOCAL
    model: str = ""
    override: str | None = None
    once: bool = False


def checked_override(value: object, where: str) -> str | None:
    """What a job overrides: nothing, or the gate. `where` names the field or header. Raises BadRequest."""
    if value is None or value == GATE:
        return None if value is None else GATE
    raise BadRequest(f"{where} must be {GATE}: there is nothing else to override")


def request_hash(path: str, body: bytes) -> bytes:
    """Equal for two requests exactly when they ask for the same."""
    return hashlib.blake2b(path.encode() + b"\0" + body, digest_size=16).digest()


def checked_key(text: str) -> str:
    """An Idempotency-Key as it may be used. Raises BadRequest."""
    if not text or len(text) > KEY_LENGTH or not text.isprintable():
        raise BadRequest(f"Idempotency-Key must be 1 to {KEY_LENGTH} characters without control characters")
    return text
