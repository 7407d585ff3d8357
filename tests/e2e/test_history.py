"""The history checker finds what it is there to find: one good history, spoiled in each way it knows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from foreman.testing.ledger import Entry
from tests.e2e.endings import FAR
from tests.e2e.history import faults
from tests.e2e.records import Call, History, Run, Slot
from tests.e2e.spans import Span
from tests.e2e.stored import Stored

PATH, ANSWER = "/api/chat", b"all of it"
ASKED = b'{"lane":"local","label":"a"}'
SLOT = b' {"lane":"local","label":"a","id":"id-7"}'
GIVEN_BACK = b'{"lane":"local","label":"a","id":"id-7","exit_status":0}'
SILENT = b'{"lane":"remote"}'
PULLED = b'{"status":"pulling"}\n{"status":"success"}\n'


def good() -> tuple[History, list[Stored]]:
    """Two runs. For the target: killed in flight, done at once, left, handed over, cancelled, and asked for twice.

    Then a slot that was held and one whose holder fell silent, a pull, and two for a remote API, one lost in the kill.
    """
    bodies = (b"one", b"two", b"three", b"four", b"five", b"six")
    calls = [
        Call(PATH, b"one", 200, "id-1", b"all"),
        Call(PATH, b"two", 200, "id-2", ANSWER, whole=True),
        Call(PATH, b"three", 200, "id-3", b"", left=True),
        Call(PATH, b"never accepted"),
        Call(PATH, b"four", 202, "id-4"),
        Call(PATH, b"five", 202, "id-5", ends=True, cancelled=200, sent=1),
        Call(PATH, b"six", 200, "id-6", ANSWER, True, twin=Call(PATH, b"six", 200, "id-6", b"all of")),
        Call("/slots", ASKED, 200, "id-7", SLOT, whole=True, slot=Slot(returned=True)),
        Call("/slots", SILENT, 200, "id-8", b" ", slot=Slot(silent=True)),
        Call("/api/pull", b"pull", 200, "id-9", PULLED[:25]),
        Call(PATH, b"far", 200, "id-10", ANSWER, whole=True),
        Call(PATH, b"lost", 200, "id-11", b"all"),
    ]
    first, second = (Entry(number, 0.0, "POST", PATH, (), body=b"one") for number in (1, 2))
    later = [Entry(number, 0.0, "POST", PATH, (), body=body) for number, body in enumerate((*bodies[1:], b"pull"), 3)]
    ended = [{"event": "job_finished", "fields": {"job": f"id-{number}"}} for number in range(1, 12)]
    runs = [Run([first], []), Run([second, *later], ended)]
    jobs = [
        _job(1, b"one", tries=(None, None)),
        _job(2, b"two"),
        _job(3, b"three", state="cancelled", answer=None),
        _job(4, b"four"),
        _job(5, b"five", state="cancelled", answer=None),
        _job(6, b"six"),
        replace(_job(7, ASKED, answer=GIVEN_BACK), path="/slots"),
        replace(_job(8, SILENT, state="failed", answer=None), path="/slots", error_code="slot_lost"),
        replace(_job(9, b"pull", answer=PULLED), path="/api/pull"),
        replace(_job(10, b"far"), model=f"@x/{FAR}", lane="remote"),
        replace(_job(11, b"lost", state="failed", answer=None), model=f"@x/{FAR}", error_code="maybe_billed"),
    ]
    expected = dict.fromkeys((*bodies, b"far", b"lost"), ANSWER)
    return History(calls, runs, expected, Counter((b"far", b"lost")), _work(), slots=2), jobs


def _job(
    seq: int, request: bytes, *, state: str = "done", answer: bytes | None = ANSWER, tries: tuple[None, ...] = (None,)
) -> Stored:
    complete = answer is not None
    return Stored(
        seq, f"id-{seq}", state, "local", "a", PATH, len(tries), 5, 0, None, None, request, 200, answer, complete, tries
    )


def _work() -> list[Span]:
    """One after the other in the local lane, then two at once in the remote one."""
    local = [Span("local", at, at + 1.0, what) for at, what in enumerate(("inference", "a slot", "a pull"))]
    return [*local, Span("remote", 3.0, 5.0, "far"), Span("remote", 4.0, 6.0, "a far slot")]


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


def _worked(lane: str, began: float, ended: float) -> Callable[[History, list[Stored]], None]:
    def spoil(history: History, _: list[Stored]) -> None:
        history.spans.append(Span(lane, began, ended, "more"))

    return spoil


def _slot_is(index: int, **changes: Any) -> Callable[[History, list[Stored]], None]:
    def spoil(history: History, _: list[Stored]) -> None:
        history.calls[index] = replace(history.calls[index], slot=Slot(**changes))

    return spoil


def _billed_twice(history: History, _: list[Stored]) -> None:
    history.billed[b"lost"] += 1


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
    "id-7: a slot that was granted 2 times": _job_is(6, attempts=2, tries=(None, None)),
    "id-7: a slot that was taken from its holder": _slot_is(7, returned=True, taken=True),
    "id-8: a slot that failed with slot_lost, and its holder was heard of": _slot_is(8),
    "id-8: a slot that failed with interrupted": _job_is(7, error_code="interrupted"),
    "id-7: a slot that nobody has given back is done": _slot_is(7),
    "id-7: another slot than its holder was told of": _job_is(6, answer=GIVEN_BACK.replace(b"id-7", b"id-6")),
    "id-7: cancelled, and its client never left": _job_is(6, state="cancelled"),
    "id-7: done with other bytes": _job_is(6, answer=b"{}"),
    "id-8: what came of the answer": _call_is(8, got=SLOT),
    "id-9: done with other bytes": _job_is(8, answer=PULLED[:21]),
    "id-9: a complete answer with other bytes": _call_is(9, whole=True, got=PULLED[:21]),
    "id-9: what came of the answer": _call_is(9, got=b'{"error":"gone"}\n'),
    "id-11: may have been billed, and was sent 2 times": _billed_twice,
    "id-11: may have been billed, and was sent 1 times in 2": _job_is(10, attempts=2, tries=(None, None)),
    "id-11: failed with interrupted, and may": _job_is(10, error_code="interrupted"),
    "id-10: done, and the remote API never saw it": lambda history, _: history.billed.pop(b"far"),
    "id-10: done with other bytes": _job_is(9, answer=b"all"),
    "local inference and local more were at once": _worked("local", 0.5, 0.6),
    "local more and local a slot were at once": _worked("local", 0.9, 1.1),
    "local a pull and local more were at once": _worked("local", 2.9, 3.0),
    "local a slot and remote more were at once": _worked("remote", 1.5, 1.6),
    "remote far and local more were at once": _worked("local", 3.5, 3.6),
    "3 remote ones at once, with 2 slots": _worked("remote", 4.5, 4.6),
}


@pytest.mark.parametrize("words", SPOILED)
def test_each_fault_is_found(words: str) -> None:
    history, jobs = good()
    SPOILED[words](history, jobs)
    assert any(words in fault for fault in faults(history, jobs, 1))


def test_two_jobs_at_once_are_found() -> None:
    assert faults(*good(), 2) == ["the target held 2 jobs at once"]
