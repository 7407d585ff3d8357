"""The history checker finds what it is there to find: one good history, spoiled in each way it knows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foreman.testing.ledger import Entry
from tests.e2e.history import Call, History, Run, faults
from tests.e2e.stored import Stored

PATH, ANSWER = "/api/chat", b"all of it"


def good() -> tuple[History, list[Stored]]:
    """Six jobs over two runs: killed in flight, done at once, left, handed over, cancelled, and asked for twice."""
    bodies = (b"one", b"two", b"three", b"four", b"five", b"six")
    calls = [
        Call(PATH, b"one", 200, "id-1", b"all"),
        Call(PATH, b"two", 200, "id-2", ANSWER, whole=True),
        Call(PATH, b"three", 200, "id-3", b"", left=True),
        Call(PATH, b"never accepted"),
        Call(PATH, b"four", 202, "id-4"),
        Call(PATH, b"five", 202, "id-5", cancelled=200, sent=1),
        Call(PATH, b"six", 200, "id-6", ANSWER, True, twin=Call(PATH, b"six", 200, "id-6", b"all of")),
    ]
    first, second = (Entry(number, 0.0, "POST", PATH, (), body=b"one") for number in (1, 2))
    later = [Entry(number, 0.0, "POST", PATH, (), body=body) for number, body in enumerate(bodies[1:], 3)]
    ended = [{"event": "job_finished", "fields": {"job": f"id-{number}"}} for number in range(1, 7)]
    runs = [Run([first], []), Run([second, *later], ended)]
    jobs = [
        _job(1, b"one", tries=(None, None)),
        _job(2, b"two"),
        _job(3, b"three", state="cancelled", answer=None),
        _job(4, b"four"),
        _job(5, b"five", state="cancelled", answer=None),
        _job(6, b"six"),
    ]
    return History(calls, runs, dict.fromkeys(bodies, ANSWER)), jobs


def _job(
    seq: int, request: bytes, *, state: str = "done", answer: bytes | None = ANSWER, tries: tuple[None, ...] = (None,)
) -> Stored:
    complete = answer is not None
    return Stored(
        seq, f"id-{seq}", state, "local", "a", PATH, len(tries), 5, 0, None, None, request, 200, answer, complete, tries
    )


def test_a_good_history_has_no_fault() -> None:
    assert faults(*good(), 1) == []


def test_what_was_sent_in_the_moment_of_the_kill_need_not_be_on_record() -> None:
    history, jobs = good()
    history.calls[0].got = b""
    jobs[0] = replace(jobs[0], attempts=1, tries=(None,))
    assert faults(history, jobs, 1) == []


def _job_is(index: int, **changes: Any) -> Callable[[History, list[Stored]], None]:
    def spoil(_: History, jobs: list[Stored]) -> None:
        jobs[index] = replace(jobs[index], **changes)

    return spoil


def _call_is(index: int, **changes: Any) -> Callable[[History, list[Stored]], None]:
    def spoil(history: History, _: list[Stored]) -> None:
        history.calls[index] = replace(history.calls[index], **changes)

    return spoil


def _run_twice(history: History, _: list[Stored]) -> None:
    history.runs[1].entries.append(history.runs[1].entries[-1])


def _swapped(history: History, _: list[Stored]) -> None:
    history.runs[1].entries.reverse()


def _ended_twice(history: History, _: list[Stored]) -> None:
    history.runs[0].events.append(history.runs[1].events[0])


SPOILED: dict[str, Callable[[History, list[Stored]], object]] = {
    "never ended": _job_is(0, state="queued"),
    "done with other bytes": _job_is(0, answer=b"all of"),
    "done with other bytes than": _job_is(1, complete=False),
    "failed with status_500": _job_is(0, state="failed", error_code="status_500"),
    "failed with interrupted after 2": _job_is(0, state="failed", error_code="interrupted"),
    "its client never left": _job_is(1, state="cancelled"),
    "6 attempts": _job_is(0, attempts=6),
    "sent 2 times in 1 attempts": _job_is(0, attempts=1, tries=(None,)),
    "sent 2 times": _run_twice,
    "attempts on record": _job_is(0, tries=(None,)),
    "rows of one request": lambda _, jobs: jobs.append(replace(jobs[0], seq=7, id="id-7")),
    "rows of one id": lambda _, jobs: jobs.append(replace(jobs[0], seq=7, request=b"seven")),
    "nobody asked": lambda history, _: history.calls.pop(0),
    "is lost": lambda _, jobs: jobs.pop(0),
    "what is not stored": lambda _, jobs: jobs.pop(1),
    "told of a job": _call_is(0, job="id-9"),
    "answered with 500": _call_is(1, status=500),
    "complete answer with other bytes": _call_is(1, got=b"all of it all of it"),
    "not how the target's begins": _call_is(0, got=b"of it"),
    "has a complete answer, the job is failed": _job_is(1, state="failed", error_code="truncated"),
    "ended 2 times": _ended_twice,
    "id-4: the client was told of a job that is lost": lambda _, jobs: jobs.pop(3),
    "its cancel was answered with 200, and it is done": _job_is(4, state="done", answer=ANSWER, complete=True),
    "sent again after its cancel": _call_is(5, sent=0),
    "made id-7 as well": _call_is(6, twin=Call(PATH, b"six", 200, "id-7")),
    "how the target's begins": _call_is(6, twin=Call(PATH, b"six", 200, "id-6", b"of it")),
    "went after seq": _swapped,
}


@pytest.mark.parametrize("words", SPOILED)
def test_each_fault_is_found(words: str) -> None:
    history, jobs = good()
    SPOILED[words](history, jobs)
    assert any(words in fault for fault in faults(history, jobs, 1))


def test_two_jobs_at_once_are_found() -> None:
    assert faults(*good(), 2) == ["the target held 2 jobs at once"]
