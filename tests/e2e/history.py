"""What must be true of a foreman that died again and again, whatever happened.

The records are laid side by side: what each client asked and got, what reached the target and the remote API, who held
slots, and what is stored once a last foreman has drained the queue.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from foreman.testing.ledger import Entry
from tests.e2e.endings import begins, ending, is_whole, lasts
from tests.e2e.records import Call, History, Run
from tests.e2e.spans import together
from tests.e2e.stored import Stored


def faults(history: History, jobs: Sequence[Stored], most: int) -> list[str]:
    """What is wrong with this history, in words; empty where all is well. `most` is the highest concurrency seen."""
    calls = {call.body: call for call in history.calls}
    rows = {job.request: job for job in jobs}
    entries = [entry for run in history.runs for entry in run.entries]
    sent, unheard = Counter(entry.body for entry in entries) + history.billed, _unheard(history)
    found = [
        *([f"the target held {most} jobs at once"] if most > 1 else []),
        *_rows(jobs, calls),
        *(fault for job in jobs for fault in _row(job, sent, max(0, unheard[job.request]))),
        *(fault for job in jobs for fault in ending(job, calls.get(job.request), history)),
        *(fault for call in history.calls for fault in _call(call, rows.get(call.body), history)),
        *(fault for call in history.calls for fault in _twins(call, rows.get(call.body), history)),
        *(fault for call in history.calls for fault in _cancelled(call, rows.get(call.body), sent)),
        *_logged(history.runs),
        *together(history.spans, history.slots),
    ]
    for number, run in enumerate(history.runs):
        found += [f"run {number}: {fault}" for fault in _order(run.entries, rows)]
    return found


def _rows(jobs: Sequence[Stored], calls: dict[bytes, Call]) -> Iterable[str]:
    for what, of in (("id", Counter(job.id for job in jobs)), ("request", Counter(job.request for job in jobs))):
        yield from (f"{count} rows of one {what}: {value!r}" for value, count in of.items() if count > 1)
    yield from (f"{job.id}: nobody asked for this" for job in jobs if job.request not in calls)


def _unheard(history: History) -> Counter[bytes]:
    """How often each request may have been sent without an attempt on record.

    What a foreman sends last it may send while the claim is still being written. Where it is killed in that moment, no
    byte of the answer can have left: who has heard something was answered by an attempt on record.
    """
    last = Counter(run.entries[-1].body for run in history.runs[:-1] if run.entries)
    last.subtract(call.body for call in history.calls if call.got and call.status == 200)
    return last


def _row(job: Stored, sent: Counter[bytes], unheard: int) -> Iterable[str]:
    if job.state not in ("done", "failed", "cancelled"):
        yield f"{job.id}: never ended, is {job.state}"
    if job.attempts > job.max_attempts:
        yield f"{job.id}: {job.attempts} attempts"
    if sent[job.request] > job.attempts + unheard:
        yield f"{job.id}: sent {sent[job.request]} times in {job.attempts} attempts"
    if len(job.tries) != job.attempts:
        yield f"{job.id}: {len(job.tries)} attempts on record, {job.attempts} counted"


def _call(call: Call, job: Stored | None, history: History) -> Iterable[str]:
    name = call.job or call.body.decode()
    if call.job is not None and (job is None or job.id != call.job):
        yield f"{name}: the client was told of a job that is lost"
        return
    if call.status not in (None, 200, 202):
        yield f"{name}: answered with {call.status}"
    if call.status != 200:
        return
    if call.whole and not is_whole(call.path, call.body, call.got, history):
        yield f"{name}: a complete answer with other bytes than the target's"
    if not call.whole and not begins(call.path, call.body, call.got, history):
        yield f"{name}: what came of the answer is not how the target's begins"
    if call.whole and job is not None and job.state != "done" and lasts(job):
        yield f"{name}: the client has a complete answer, the job is {job.state}"


def _twins(call: Call, job: Stored | None, history: History) -> Iterable[str]:
    if call.twin is None:
        return
    if call.twin.job and call.job and call.twin.job != call.job:
        yield f"{call.job}: the same request with the same key made {call.twin.job} as well"
    yield from _call(call.twin, job, history)


def _cancelled(call: Call, job: Stored | None, sent: Counter[bytes]) -> Iterable[str]:
    if call.cancelled not in (200, 202) or job is None:
        return
    if job.state != "cancelled" and not (call.cancelled == 202 and job.state == "done"):
        yield f"{job.id}: its cancel was answered with {call.cancelled}, and it is {job.state}"
    if sent[call.body] > call.sent:
        yield f"{job.id}: sent again after its cancel was answered"


def _logged(runs: Sequence[Run]) -> Iterable[str]:
    ended: Counter[str] = Counter()
    for run in runs:
        ended.update(event["fields"]["job"] for event in run.events if event["event"] == "job_finished")
    yield from (f"{job}: ended {count} times" for job, count in ended.items() if count > 1)


def _order(entries: Sequence[Entry], rows: dict[bytes, Stored]) -> Iterable[str]:
    """Of one model, an older job goes first; those that run side by side may overtake each other on their way."""
    last: dict[str, int] = {}
    for entry in entries:
        job = rows.get(entry.body)
        if job is None:
            yield f"the target was sent what is not stored: {entry.body.decode()}"
            continue
        if job.lane == "local" and job.seq < last.get(job.model, 0):
            yield f"{job.id} (seq {job.seq}) of {job.model} went after seq {last[job.model]}"
        last[job.model] = job.seq
