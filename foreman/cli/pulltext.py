"""What people read of a pull or a create: the bar, how fast it goes, what is left. Pure: times are handed in."""

from collections import deque
from typing import Final

from foreman.cli.jobtext import Json, reason, state_piece
from foreman.cli.table import duration
from foreman.cli.terminal import Piece, printable, tail, width
from foreman.core.progress import Progress
from foreman.core.units import gigabytes
from foreman.core.upkeep import Work

LEAST_BAR, MOST_BAR = 8, 32
# Of a longer name the end is shown, which tells most.
NAME: Final = 28
# How far back the rate looks. Lines that were told before come all at once, so the first moment does not count.
WINDOW_SECONDS: Final = 10.0
SETTLED_SECONDS: Final = 0.5


class Rate:
    """Bytes a second over the last moments."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._began: float | None = None

    def note(self, now: float, completed: int) -> None:
        self._began = now if self._began is None else self._began
        if now - self._began < SETTLED_SECONDS:
            return
        self._seen.append((now, completed))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """None where nothing can be said yet, or nothing comes."""
        if len(self._seen) < 2:
            return None
        (since, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - since) if now > since and last > first else None


class Steps:
    """What is said of it where no line can be rewritten: a line for each step, and for each tenth of the way."""

    def __init__(self) -> None:
        self._told = 0  # tenths

    def line(self, model: str, progress: Progress, rate: float | None) -> str:
        """Empty where there is nothing new; a step may be told more than once."""
        tenth = percent(progress) // 10
        if tenth > self._told:
            self._told = tenth
            return f"{printable(model)}: {tenth}0%, {figures(progress, rate)}"
        return "" if progress.counting else f"{printable(model)}: {printable(progress.status)}"


def bar_line(model: str, progress: Progress, rate: float | None, columns: int) -> list[Piece]:
    """One line for a terminal this wide: where the pull stands."""
    name = Piece(tail(printable(model), NAME), "bold")
    if not progress.to_come:
        return [name, Piece(f"  {printable(progress.status)}")]
    words = f"  {percent(progress):3}%  {figures(progress, rate)}"
    room = max(LEAST_BAR, min(MOST_BAR, columns - width(name.text) - 2 - len(words)))
    done = room * progress.completed // progress.total
    return [name, Piece("  "), Piece("#" * done, "good"), Piece("-" * (room - done), "dim"), Piece(words)]


def place_line(model: str, job: Json, elapsed: float) -> list[Piece]:
    """One line while nothing has come: where its job stands."""
    line = [Piece(tail(printable(model), NAME), "bold"), Piece("  "), state_piece(job["state"])]
    if job["state"] == "queued":
        words = [f"position {job['position']}"] if job["position"] else []
        if job["reason"] not in (None, *Work):
            words.append(reason(job))
        if job["expected_start"] is not None:
            words.append(f"starts in about {duration(job['expected_start'])}")
        line.append(Piece("  " + ", ".join(words)))
    line.append(Piece(f"  {duration(elapsed)}", "dim"))
    return line


def percent(progress: Progress) -> int:
    """How much of what is known of has come; 0 where nothing is."""
    return 100 * progress.completed // progress.total if progress.total else 0


def figures(progress: Progress, rate: float | None) -> str:
    """Size, rate and time left, as far as they are known."""
    words = f"{amount(progress.completed)} of {amount(progress.total)}"
    if rate and progress.to_come:
        words += f", {amount(rate)}/s, {duration(progress.to_come / rate)} left"
    return words


def amount(size: float) -> str:
    """`17.2 GB`, `120 MB`, `3 kB`."""
    if size >= 10**9:
        return gigabytes(size)
    return f"{size / 10**6:.0f} MB" if size >= 10**6 else f"{size / 10**3:.0f} kB"
