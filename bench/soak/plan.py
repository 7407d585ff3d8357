"""How long a soak takes and what is done to it when. Pure."""

from dataclasses import dataclass
from typing import Final

SECONDS: Final = 600.0
CLIENTS: Final = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """A run of so many seconds.

    In the first half foreman is killed and then stopped, and started again each time. The second half is of one
    process, which is watched: growth shows in a process that lives. The target dies and comes back all along.
    """

    seconds: float = SECONDS
    clients: int = CLIENTS
    seed: int = 1

    @property
    def killed_at(self) -> float:
        return self.seconds * 0.15

    @property
    def stopped_at(self) -> float:
        return self.seconds * 0.35

    @property
    def watched_from(self) -> float:
        """Its caches are full, and what it loads late is loaded."""
        return self.seconds * 0.55

    @property
    def target_lives(self) -> float:
        """Seconds from one start of the target to its death."""
        return self.seconds / 8

    @property
    def read_every(self) -> float:
        """Often enough for three groups of ten readings."""
        return (self.seconds - self.watched_from) / 30
