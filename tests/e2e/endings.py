"""How a job may have ended after any number of kills, and what its answer may be: each kind has its own rules."""

from collections.abc import Iterable
from typing import Any

import orjson

from tests.e2e.records import Call, History
from tests.e2e.spans import PULL
from tests.e2e.stored import Stored

SLOTS = "/slots"
# The one model of the remote API. It is asked for without a prefix, so that what is stored is what was asked.
FAR = "far-one"


def ending(job: Stored, call: Call | None, history: History) -> Iterable[str]:
    """What is wrong with how this job has ended."""
    if job.state == "cancelled" and call is not None and not (call.left or call.ends):
        yield f"{job.id}: cancelled, and its client never left"
    if job.state == "done" and not (job.complete and is_whole(job.path, job.request, job.answer or b"", history)):
        yield f"{job.id}: done with other bytes than the target's"
    if job.path == SLOTS:
        yield from _slot(job, call)
    elif job.model.endswith(FAR):
        yield from _far(job, history)
    elif job.state == "failed" and not (job.error_code == "interrupted" and job.attempts == job.max_attempts):
        yield f"{job.id}: failed with {job.error_code} after {job.attempts} attempts"


def _far(job: Stored, history: History) -> Iterable[str]:
    """What may have been billed is not sent again by itself."""
    times = history.billed[job.request]
    if times > 1 or job.attempts > 1:
        yield f"{job.id}: may have been billed, and was sent {times} times in {job.attempts} attempts"
    if job.state == "failed" and job.error_code != "maybe_billed":
        yield f"{job.id}: failed with {job.error_code}, and may have been billed"
    if job.state == "done" and times == 0:
        yield f"{job.id}: done, and the remote API never saw it"


def _slot(job: Stored, call: Call | None) -> Iterable[str]:
    """It is found again or freed: held by one until he gives it back, or nothing is heard of him."""
    if call is None or call.slot is None:
        return
    if job.attempts > 1:
        yield f"{job.id}: a slot that was granted {job.attempts} times"
    if call.slot.taken:
        yield f"{job.id}: a slot that was taken from its holder"
    if job.state == "failed" and not (job.error_code == "slot_lost" and call.slot.silent):
        yield f"{job.id}: a slot that failed with {job.error_code}, and its holder was heard of"
    if job.state == "done" and not call.slot.returned:
        yield f"{job.id}: a slot that nobody has given back is done"
    if (
        job.state == "done"
        and call.whole
        and not orjson.loads(call.got).items() <= orjson.loads(job.answer or b"{}").items()
    ):
        yield f"{job.id}: another slot than its holder was told of"


def lasts(job: Stored) -> bool:
    """Whether a client that has a whole answer must find the job done."""
    return job.path != SLOTS and job.error_code not in ("interrupted", "maybe_billed")


def is_whole(path: str, body: bytes, answer: bytes, history: History) -> bool:
    """Whether this is all that can be the answer to a body. How a pull is told depends on where it was cut."""
    if path == PULL:
        return begins(path, body, answer, history) and answer.endswith(b"\n") and _lines(answer)[-1:] == [SUCCESS]
    if path == SLOTS:
        return b'"id"' in answer and begins(path, body, answer, history)
    return answer == history.expected.get(body)


def begins(path: str, body: bytes, answer: bytes, history: History) -> bool:
    """Whether the answer to a body may begin so."""
    if path == PULL:
        return all("status" in line and "error" not in line for line in _lines(answer))
    if path == SLOTS:
        told = orjson.loads(answer) if answer.strip() else {}
        return all(told.get(name, value) == value for name, value in orjson.loads(body).items())
    return history.expected.get(body, b"").startswith(answer)


SUCCESS = {"status": "success"}


def _lines(answer: bytes) -> list[Any]:
    """The lines that came whole."""
    return [orjson.loads(line) for line in answer.split(b"\n")[:-1] if line.strip()]
