"""What to do after an attempt went wrong: again, later, or never. Pure arithmetic and tables.

Attempts bound jobs that do harm (they reached the target and it broke); an outage of the target is bounded by nothing,
because the job is not at fault. Texts of the target are those of Ollama's llm/server.go and server/sched.go.
"""

from dataclasses import dataclass
from typing import Final

from foreman.core.errors import TargetError, TargetUnreachable
from foreman.core.job import Job

CRASHES_UNTIL_POISON: Final = 2

CRASH_TEXTS: Final = (
    "model runner has unexpectedly stopped",
    "an error was encountered while running the model",
)
LOAD_TEXTS: Final = (
    "llama-server process has terminated",
    "llama runner process has terminated",
    "timed out waiting for llama",
    "llama-server reported out-of-memory",
    "model requires more system memory",
    "mlx runner failed",
    "error loading model",
    "unable to allocate",
    "out of memory",
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`base` and `cap` in seconds: 1, 2, 4 .. 60."""

    base: float
    cap: float

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures in a row; `jitter` from 0 to 1 spreads it by a fifth each way."""
        exact = min(self.cap, self.base * 2.0 ** min(max(failures, 1) - 1, 30))
        return float(exact * (0.8 + 0.4 * jitter))


@dataclass(frozen=True, slots=True)
class Pass:
    """The target's answer is final: pass it on as it is."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Back into the queue for `after` seconds. `counted`: it spends an attempt. `crash`: the runner died under it."""

    after: float
    counted: bool = True
    crash: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """The target is down as a whole: back into the queue at once, nothing spent; claiming stops until it answers."""


@dataclass(frozen=True, slots=True)
class Fail:
    """No further attempt. `code` is what is stored."""

    code: str


def after_error(
    error: TargetError, job: Job, *, alive: bool, policy: RetryPolicy, jitter: float
) -> Retry | Wait | Fail:
    """After an attempt of which no byte was released. `alive`: the target answered a probe just now.

    (1) Nothing was sent and the target is down: wait, nothing is spent.
    (2) Attempts are used up: fail with what went wrong.
    (3) Otherwise: again, later; the attempt stays counted, since the job may have been what broke the target.
    """
    if isinstance(error, TargetUnreachable) and not alive:  # (1)
        return Wait()
    if job.attempts >= job.max_attempts:  # (2)
        return Fail(error.code)
    return Retry(policy.delay(job.attempts, jitter))  # (3)


def after_status(
    status: int, text: str, job: Job, *, retry_after: float | None, busy: int, policy: RetryPolicy, jitter: float
) -> Pass | Retry:
    """After the target answered with `status` before any byte was released; `text` is its error body.

    `busy` counts how often it said 503 or 429 to this job. `retry_after` is its header, in seconds.
    (1) Busy: again, later, however often; being told to wait is not the job's fault.
    (2) The runner crashed: once more; the second time the answer is passed on as final.
    (3) It could not load, gave the load up (499), or something before Ollama failed: again within the bound.
    (4) All else is the target's last word.
    """
    if status in (429, 503):  # (1)
        asked = min(retry_after, policy.cap) if retry_after is not None else 0.0
        return Retry(max(asked, policy.delay(busy, jitter)), counted=False)
    spent = job.attempts >= job.max_attempts
    if status == 500 and _names(text, CRASH_TEXTS):  # (2)
        if spent or job.crashes + 1 >= CRASHES_UNTIL_POISON:
            return Pass()
        return Retry(policy.delay(job.attempts, jitter), crash=True)
    if status in (499, 502, 504) or (status == 500 and _names(text, LOAD_TEXTS)):  # (3)
        return Pass() if spent else Retry(policy.delay(job.attempts, jitter))
    return Pass()  # (4)


def _names(text: str, needles: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(needle in lowered for needle in needles)
