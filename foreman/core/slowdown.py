"""Why an upstream gets fewer requests than it has slots for, in figures and in words."""

from dataclasses import dataclass

UNREACHABLE = "remote_unreachable"


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Times are unix seconds. `until` is None where it is asked again already, only by fewer at once.

    `cause` is the code of what it answered last, `retry_after` the seconds it asked for, where it named any.
    """

    remote: str
    cause: str
    since: float
    until: float | None
    retry_after: float | None
    limit: int
    slots: int

    @property
    def text(self) -> str:
        why = f"{self.remote} cannot be reached"
        if self.cause != UNREACHABLE:
            asked = "" if self.retry_after is None else f" with Retry-After {self.retry_after:g} s"
            why = f"{self.remote} answered {self.cause.removeprefix('status_')}{asked}"
        if self.until is not None:
            return f"{why} and is left alone"
        return f"{why} and gets {self.limit} of {self.slots} requests at once"
