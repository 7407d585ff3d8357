"""What the settings tell the engine."""

from dataclasses import dataclass
from typing import Literal

from foreman.core.residency import Swap


@dataclass(frozen=True, slots=True)
class Rules:
    """How much is taken in, what becomes of jobs that nobody waits for, and how long what is over is kept."""

    max_queued: int
    max_attempts: int
    on_client_gone: Literal["cancel", "finish"]
    swap: Swap
    drop_attached: bool
    drain_seconds: float
    retention_seconds: float
    retention_bytes: int
