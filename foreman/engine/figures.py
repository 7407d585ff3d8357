"""What is counted of jobs since the start: how they ended, how long they took, what they cost.

Rules:
1. A job is counted once, when it has ended, whoever ended it.
2. Only names that are known become names here; however many names clients think of, the figures stay few.
3. It holds no prompt, no answer, no client and no key.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from foreman.core.gate import Admit, Hold, Verdict
from foreman.core.job import JobState, Outcome, Stats
from foreman.core.labels import OTHER
from foreman.core.lanes import Lane
from foreman.core.spread import LONG, MEDIUM, Spread

# So many names of models are told apart; a target can get any number of them in time.
NAMES: Final = 100
# So many causes; the target may answer with any status.
CAUSES: Final = 50


@dataclass(slots=True)
class Tally:
    """The jobs of one model in one lane. Times in seconds."""

    ends: Counter[JobState] = field(default_factory=Counter)
    prompt_tokens: int = 0
    output_tokens: int = 0
    waits: Spread = field(default_factory=lambda: Spread(LONG))
    loads: Spread = field(default_factory=lambda: Spread(MEDIUM))
    first_tokens: Spread = field(default_factory=lambda: Spread(MEDIUM))
    durations: Spread = field(default_factory=lambda: Spread(LONG))

    def add(self, stats: Stats) -> None:
        self.prompt_tokens += stats.prompt_tokens or 0
        self.output_tokens += stats.output_tokens or 0
        self.waits.add(stats.waited_ms / 1000)
        self.durations.add((stats.waited_ms + stats.total_ms) / 1000)
        if stats.load_ms:
            self.loads.add(stats.load_ms / 1000)
        if stats.first_byte_ms is not None:
            self.first_tokens.add(stats.first_byte_ms / 1000)


class Figures:
    """Counts. `naming` says what a model is called here; see core/labels.py."""

    def __init__(self) -> None:
        self.naming: Callable[[Lane, str], str] = lambda _, __: OTHER
        self.jobs: dict[tuple[Lane, str], Tally] = {}
        self.failures: Counter[tuple[Lane, str]] = Counter()
        self.retries: Counter[tuple[Lane, str]] = Counter()
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self._names: set[str] = set()

    def __repr__(self) -> str:
        return f"<Figures of {len(self.jobs)} models>"

    def name(self, lane: Lane, model: str) -> str:
        """What a model is called in the figures."""
        name = self.naming(lane, model)
        if name not in self._names:
            if len(self._names) >= NAMES:
                return OTHER
            self._names.add(name)
        return name

    def ended(
        self, lane: Lane, model: str, state: JobState, outcome: Outcome | None = None, code: str | None = None
    ) -> None:
        """A job has ended; `outcome` where it ran, `code` says why it failed where it did not."""
        key = lane, self.name(lane, model)
        tally = self.jobs.get(key)
        if tally is None:
            tally = self.jobs[key] = Tally()
        tally.ends[state] += 1
        if outcome is not None:
            tally.add(outcome.stats)
            code = outcome.error_code
        if state is JobState.FAILED:
            _count(self.failures, lane, code or OTHER)

    def tried_again(self, lane: Lane, code: str) -> None:
        """A job goes back to the queue."""
        _count(self.retries, lane, code)

    def judged(self, verdict: Verdict, before: Verdict | None = None) -> None:
        """What the gate says of a load key; it counts where it is another thing than `before`."""
        words = _words(verdict)
        if before is None or words != _words(before):
            self.verdicts[words] += 1


def _words(verdict: Verdict) -> tuple[str, str]:
    """What it says, and the cause where there is one."""
    if isinstance(verdict, Admit):
        return "admit", ""
    return "hold" if isinstance(verdict, Hold) else "refuse", verdict.cause.value


def _count(counts: Counter[tuple[Lane, str]], lane: Lane, cause: str) -> None:
    known = (lane, cause) in counts or len(counts) < CAUSES
    counts[lane, cause if known else OTHER] += 1
