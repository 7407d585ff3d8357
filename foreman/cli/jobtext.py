"""What people read of jobs: one row, one page, one line of progress. Pure: from foreman's JSON to text."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from foreman.cli.table import Cell, age, count, duration, local, moment
from foreman.cli.terminal import Piece, printable
from foreman.core import units

Json = dict[str, Any]

LIST_HEAD: Final = ("ID", "STATE", "MODEL", "AGE", "WAITED", "TOOK", "TOKENS", "CLIENT")
QUEUE_HEAD: Final = ("#", "ID", "LANE", "MODEL", "WHY", "STARTS IN", "AGE", "CLIENT")
FINISHED: Final = ("done", "failed", "cancelled")
ATTEMPT_HEAD: Final = ("ATTEMPT", "BEGUN", "TOOK", "OUTCOME", "ERROR")
# What stands before a job, in words; its model needs nothing where it is loaded.
REASONS: Final = {
    "loaded": "model is loaded",
    "reload": "model loads again",
    "swap": "model is swapped",
    "pull": "model is pulled",
    "create": "model is made",
    "command": "waits its turn",
    "held": "is held",
    "delayed": "has its time",
    "paused": "queue is paused",
    "target_down": "target is down",
    "slot": "waits for a free slot",
    "local_lane": "waits for the local lane",
    "remote_lane": "waits for the remote lane",
    "remote_paused": "waits for its remote",
    "remote_full": "waits for a slot of its remote",
}


def name_of(job: Json) -> str:
    """What a job is about: its model, or what a command is called."""
    return str(job["label"] or job["model"])


def list_row(job: Json, now: datetime) -> Sequence[Cell]:
    stats = job["stats"] or {}
    return (
        job["id"],
        state_piece(job["state"]),
        name_of(job),
        age(job["created_at"], now),
        duration(stats.get("waited_seconds")),
        duration(stats.get("total_seconds")),
        count(stats.get("output_tokens")),
        job["client"] or "-",
    )


def attempt_row(attempt: Json) -> Sequence[Cell]:
    begun, ended = moment(attempt["started_at"]), moment(attempt["ended_at"])
    took = (ended - begun).total_seconds() if begun and ended else None
    error = attempt["error"]
    words = "" if error is None else f"{error['code']}: {error['message'] or ''}"
    return (str(attempt["n"]), local(attempt["started_at"]), duration(took), attempt["outcome"] or "running", words)


def state_piece(state: str) -> Piece:
    return Piece(state, {"failed": "bad", "cancelled": "dim"}.get(state, state))


def queue_rows(queue: Json, now: datetime) -> list[Sequence[Cell]]:
    """What runs, what waits in each lane in the order in which it will run, and what waits for its time."""
    running = [job for lane in queue["lanes"].values() for job in lane["running"]]
    rows: list[Sequence[Cell]] = [("now", *_queue_row(job, _running(job), "-", now)) for job in running]
    for job in queue["waiting"]:
        expected = job["expected_start"]
        rows.append((str(job["position"]), *_queue_row(job, reason(job), duration(expected), now)))
    rows += [("-", *_queue_row(job, _delayed(job), "-", now)) for job in queue["delayed"]]
    return rows


def _running(job: Json) -> Cell:
    heartbeat = job.get("heartbeat")
    if heartbeat is None or heartbeat["heard_at"] is not None:
        return state_piece(job["state"])
    return f"held, not heard of since foreman was started; expires {local(heartbeat['expires_at'])}"


def _delayed(job: Json) -> str:
    return reason(job) if job.get("slowdown") else f"not before {local(job['not_before'])}"


def _queue_row(job: Json, why: Cell, starts: str, now: datetime) -> Sequence[Cell]:
    return (job["id"], job["lane"], name_of(job), why, starts, age(job["created_at"], now), job["client"] or "-")


def reason(job: Json) -> str:
    """Why it waits: in a few words, and more where there is more to say."""
    words = REASONS.get(job["reason"] or "", job["reason"] or "-")
    until = (job.get("slowdown") or {}).get("until")
    return words + (f": {job['why']}" if job.get("why") else "") + (f" until {local(until)}" if until else "")


def standing(job: Json) -> tuple[object, ...]:
    """What of a job's place in the line is a change worth a line of its own; figures alone are not."""
    return job["state"], job["position"], job["reason"], (job.get("hold") or {}).get("cause"), job["attempts"]


def page(job: Json) -> list[tuple[str, Cell]]:
    """Everything that is known of a job, a name and a value each; what says nothing is left out."""
    stats = job["stats"] or {}
    waits = job["state"] == "queued"
    rows: list[tuple[str, Cell | None]] = [
        ("id", job["id"]),
        ("state", state_piece(job["state"])),
        ("lane", job["lane"]),
        ("label", job["label"]),
        ("memory", units.show_bytes(job["memory"]) if job["memory"] else None),
        ("model", None if job["label"] else job["model"]),
        ("load key", None if job["label"] or job["load_key"] == job["model"] else job["load_key"]),
        ("path", job["path"]),
        ("mode", job["mode"]),
        ("client", job["client"] or None),
        ("position", str(job["position"]) if job["position"] else None),
        ("why it waits", reason(job) if waits else None),
        ("starts in", duration(job["expected_start"]) if job["expected_start"] is not None else None),
        ("not before", local(job["not_before"]) if job["not_before"] else None),
        ("last heard of", _heard(job)),
        ("held until", local(job["heartbeat"]["expires_at"]) if job.get("heartbeat") else None),
        ("created", local(job["created_at"])),
        ("begun", local(job["claimed_at"]) if job["claimed_at"] and not waits else None),
        ("finished", local(job["finished_at"]) if job["finished_at"] else None),
        ("waited", duration(stats["waited_seconds"]) if stats else None),
        ("loaded in", duration(stats["load_seconds"]) if stats.get("load_seconds") else None),
        ("first byte after", duration(stats["first_byte_seconds"]) if stats.get("first_byte_seconds") else None),
        ("took", duration(stats["total_seconds"]) if stats else None),
        ("tokens", f"{count(stats['prompt_tokens'])} in, {count(stats['output_tokens'])} out" if stats else None),
        ("attempts", f"{job['attempts']} of {job['max_attempts']}"),
        ("status", str(job["status"]) if job["status"] else None),
        ("error", f"{job['error']['code']}: {job['error']['message'] or ''}" if job["error"] else None),
        ("retry of", job["retry_of"]),
        ("kept", "yes" if job["kept"] else None),
        ("overrides", f"the {job['override']}" if job.get("override") else None),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _heard(job: Json) -> str | None:
    heartbeat = job.get("heartbeat")
    if heartbeat is None:
        return None
    return local(heartbeat["heard_at"]) if heartbeat["heard_at"] else "not since foreman was started"


@dataclass(slots=True)
class Heard:
    """What was heard of an answer so far: pieces of text, bytes, and how long since the first."""

    pieces: int = 0
    size: int = 0
    seconds: float = 0.0


def progress(job: Json, heard: Heard, elapsed: float) -> list[Piece]:
    """One line: where a job stands."""
    line = [Piece(f"{job['id']}  "), state_piece(job["state"]), Piece(f"  {printable(name_of(job))}")]
    state = job["state"]
    if state == "queued":
        words = [f"position {job['position']}"] if job["position"] else []
        words.append(f"not before {local(job['not_before'])}" if job["reason"] == "delayed" else reason(job))
        if job["expected_start"] is not None:
            words.append(f"starts in about {duration(job['expected_start'])}")
        line.append(Piece("  " + ", ".join(words)))
    elif state == "working" and heard.pieces:
        rate = f", {heard.pieces / heard.seconds:.1f}/s" if heard.seconds >= 1 else ""
        line.append(Piece(f"  {heard.pieces} tokens{rate}"))
    elif state == "working" and heard.size:
        line.append(Piece(f"  {heard.size} bytes"))
    elif state in FINISHED:
        line.append(Piece("  " + ending(job)))
        return line
    line.append(Piece(f"  {duration(elapsed)}", "dim"))
    return line


def ending(job: Json) -> str:
    """How a finished job ended, in a few words."""
    stats = job["stats"] or {}
    if job["error"]:
        return printable(job["error"]["message"] or "")
    tokens, seconds = stats.get("output_tokens"), stats.get("total_seconds")
    words = [f"{tokens} tokens"] if tokens is not None else []
    if seconds is not None:
        words.append(f"took {duration(seconds)} after waiting {duration(stats.get('waited_seconds'))}")
    return ", ".join(words)
