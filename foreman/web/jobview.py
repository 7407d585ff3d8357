"""How a job looks to people and programs: the JSON of foreman's own routes.

Times are RFC 3339 in UTC, durations seconds, null where nothing is known or not yet.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from foreman.core.gate import Hold
from foreman.core.job import FINISHED, Job, JobState, Stats
from foreman.core.slots import is_slot, label_of, memory_of
from foreman.core.slowdown import Slowdown
from foreman.engine.engine import Engine
from foreman.engine.events import Event
from foreman.engine.forecast import Outlook
from foreman.engine.held import Held
from foreman.engine.store import Attempt
from foreman.web.reasons import REMOTE_PAUSED, Why, why

RETRIABLE = frozenset({JobState.FAILED, JobState.CANCELLED})


def moment(unix_ms: int | None) -> str | None:
    """A time as it is written: 2026-01-31T12:00:00.123Z."""
    if unix_ms is None:
        return None
    at = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{unix_ms % 1000:03d}Z"


def job_view(job: Job, engine: Engine, outlook: Outlook | None = None) -> dict[str, object]:
    """A stored job, with what this process knows better."""
    live = engine.jobs.get(job.id)
    state = live.state if live is not None else job.state
    queued = state is JobState.QUEUED
    reason = why(engine, job.load_key, job.lane, job.override, outlook, delayed=job.not_before > 0) if queued else Why()
    hold, slowdown = reason.hold, reason.slowdown
    stands = engine.paused or hold is not None or reason.word == REMOTE_PAUSED
    return {
        "id": job.id,
        "state": state,
        "lane": job.lane,
        "model": job.model,
        "load_key": str(job.load_key),
        "label": label_of(job.model) if is_slot(job.model) else None,
        "memory": memory_of(job.load_key) if is_slot(job.model) else None,
        "heartbeat": _heartbeat(engine.held(job.id)),
        "path": job.path.partition("?")[0],
        "mode": live.mode if live is not None else job.mode,
        "client": job.client,
        "position": outlook.position if queued and outlook else None,
        "reason": reason.word,
        "why": reason.text,
        "hold": hold_view(hold) if hold is not None else None,
        "slowdown": slowdown_view(slowdown) if slowdown is not None else None,
        "expected_start": outlook.expected_start if queued and outlook and not stands else None,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "not_before": moment(job.not_before or None),
        "created_at": moment(job.created_at),
        "claimed_at": moment(job.claimed_at),
        "first_byte_at": moment(job.first_byte_at),
        "finished_at": moment(job.finished_at),
        "status": job.status,
        "error": _error(job),
        "stats": None if job.stats is None else stats_view(job.stats),
        "output_bytes": None if live is None else live.relay.size,
        "retry_of": job.retry_of,
        "kept": job.kept,
        "override": job.override,
        "links": links(job.id, state, slot=is_slot(job.model)),
    }


def links(job_id: str, state: JobState, *, slot: bool = False) -> dict[str, str]:
    at = f"/jobs/{job_id}"
    found = {"self": at, "response": f"{at}/response"}
    if state not in FINISHED:
        found["cancel"] = at
    if state in RETRIABLE and not slot:
        found["retry"] = f"{at}/retry"
    return found


def stats_view(stats: Stats) -> dict[str, object]:
    return {
        "waited_seconds": stats.waited_ms / 1000,
        "load_seconds": stats.load_ms / 1000,
        "first_byte_seconds": None if stats.first_byte_ms is None else stats.first_byte_ms / 1000,
        "total_seconds": stats.total_ms / 1000,
        "prompt_tokens": stats.prompt_tokens,
        "output_tokens": stats.output_tokens,
    }


def attempts_view(attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    return [
        {
            "n": attempt.n,
            "started_at": moment(attempt.started_at),
            "ended_at": moment(attempt.ended_at),
            "outcome": attempt.outcome,
            "error": None if attempt.error_code is None else {"code": attempt.error_code, "message": attempt.error},
        }
        for attempt in attempts
    ]


def change_view(event: Event) -> dict[str, object]:
    """A change of a job, as /events tells it: what this process knows without asking the store."""
    live = event.live
    return {
        "id": live.id,
        "state": event.state,
        "lane": live.lane,
        "model": live.model,
        "load_key": str(live.key),
        "path": live.path.partition("?")[0],
        "mode": event.mode,
        "client": live.client,
        "attempts": event.attempts,
        "created_at": moment(live.created_at),
        "output_bytes": event.output_bytes,
        "hold": None if event.hold is None else hold_view(event.hold),
        "links": links(live.id, event.state, slot=is_slot(live.model)),
    }


def hold_view(hold: Hold) -> dict[str, object]:
    """Why the gate holds something. Bytes, or load per core."""
    return {
        "cause": hold.cause,
        "text": hold.text,
        "needed": hold.needed,
        "there": hold.there,
        "since": moment(int(hold.since * 1000)),
        "next_look": moment(int(hold.next_look * 1000)),
    }


def slowdown_view(slowdown: Slowdown) -> dict[str, object]:
    """Why a remote API gets fewer requests than it has slots for, or none for a while."""
    return {
        "remote": slowdown.remote,
        "cause": slowdown.cause,
        "text": slowdown.text,
        "since": moment(int(slowdown.since * 1000)),
        "until": None if slowdown.until is None else moment(int(slowdown.until * 1000)),
        "retry_after": slowdown.retry_after,
        "limit": slowdown.limit,
        "slots": slowdown.slots,
    }


def _heartbeat(held: Held | None) -> dict[str, object] | None:
    """What was heard of the holder of a slot; None for all other jobs."""
    if held is None:
        return None
    return {
        "heard_at": None if held.heard_at is None else moment(int(held.heard_at * 1000)),
        "expires_at": moment(int(held.expires_at * 1000)),
        "expiry_seconds": held.request.expiry,
    }


def _error(job: Job) -> dict[str, object] | None:
    return None if job.error_code is None else {"code": job.error_code, "message": job.error}
