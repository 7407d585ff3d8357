"""Jobs and outcomes for the tests of the store."""

from typing import Any

from foreman.core.job import Answer, HandBack, JobState, LoadKey, Mode, NewJob, Outcome, Payload, Stats

BODY = b'{"model": "a"}'


def new_job(number: int, model: str = "a:latest", options: tuple[tuple[str, int], ...] = (), **changes: Any) -> NewJob:
    """A job whose id is its number; `body` goes into the payload."""
    payload = Payload("/api/chat", (("content-type", "application/json"),), changes.pop("body", BODY))
    values: dict[str, Any] = {
        "id": job_id(number),
        "model": model,
        "load_key": LoadKey(model, options),
        "mode": Mode.DETACHED,
        "payload": payload,
        "max_attempts": 3,
        "created_at": 1_000 + number,
    }
    return NewJob(**values | changes)


def job_id(number: int) -> str:
    return f"{number:026d}"


def done(
    at: int = 9_000,
    body: bytes = b"answer",
    state: JobState = JobState.DONE,
    error: str | None = None,
    stats: Stats = Stats(),  # noqa: B008 immutable
) -> Outcome:
    answer = Answer(200, (("content-type", "application/x-ndjson"),), body, complete=True)
    return Outcome(state, at, stats, answer, error and "code", error)


def failed(at: int = 9_000) -> Outcome:
    return Outcome(JobState.FAILED, at, Stats(), error_code="truncated", error="the answer broke off")


def back(at: int = 9_000, not_before: int = 0, *, counted: bool = True, crash: bool = False) -> HandBack:
    return HandBack(at, not_before, counted, "target_unreachable", "connection refused", crash)
