"""How many requests an upstream gets at once, and when it is left alone.

Rules:
1. There is always room for one request, and never for more than `slots`.
2. Being told to wait, or finding nobody, halves the room and begins a pause. Answers widen it again, by one request
   for as many answers as there is room for: fast down, slowly up.
3. Requests that were under way together are one lesson: what was sent before the last one halves nothing.
Times are seconds of one clock that never goes back.
"""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from foreman.core.headers import Headers, value_of

NEVER: Final = float("-inf")


@dataclass(slots=True)
class Throttle:
    """The room at one upstream. `failures` counts how often in a row nobody was there.

    While it has not all of its room, `cause` says what took it last, `asked` for how many seconds it asked itself, and
    `since` when that began.
    """

    slots: int
    room: float = 0.0
    until: float = NEVER
    failures: int = 0
    cause: str = ""
    asked: float | None = None
    since: float = NEVER
    _shrunk_at: float = NEVER

    def __post_init__(self) -> None:
        self.room = float(self.slots)

    @property
    def limit(self) -> int:
        """How many requests it may have at once now."""
        return max(1, int(self.room))

    def paused(self, now: float) -> bool:
        return now < self.until

    def answered(self) -> None:
        """It took a request and answered."""
        self.failures = 0
        self.room = min(float(self.slots), self.room + 1.0 / self.room)
        if self.room == self.slots:
            self.cause, self.asked = "", None

    def slow_down(self, now: float, sent_at: float, seconds: float, cause: str, asked: float | None = None) -> None:
        """It is to be left alone for `seconds`: it was not there, or said so, and then perhaps for how long."""
        if not self.cause:
            self.since = now
        self.cause, self.asked = cause, asked
        self.until = max(self.until, now + seconds)
        if sent_at >= self._shrunk_at:
            self.room = max(1.0, self.room / 2)
            self._shrunk_at = now


def retry_after(headers: Headers, now: float) -> float | None:
    """The seconds an answer asks to be left alone for, from a number or a date; None where it says none.

    `now` is unix seconds.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = value_of(headers, name).strip()
        try:
            # The order of the two makes a NaN nothing.
            return max(0.0, float(text) * unit)
        except ValueError:
            continue
    try:
        return max(0.0, parsedate_to_datetime(value_of(headers, "retry-after")).timestamp() - now)
    except ValueError:
        return None
