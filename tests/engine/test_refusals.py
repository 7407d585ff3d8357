"""Which load keys are judged, and how often. What becomes of their jobs is shown in test_gate.py."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from foreman.core.gate import Admit, Cause, Hold, Refuse, Verdict
from foreman.engine import refusals
from foreman.engine.live import LiveJobs
from foreman.engine.refusals import Refusals
from foreman.engine.relay import Budget
from foreman.engine.store import Store
from tests.engine.clock import HandClock

NEVER = Refuse(Cause.MEMORY, "far too large", 2, 1)


class Subject:
    """Refusals whose judge says what a test says; `judged` and `refused` are what it was asked and did."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict | None] = {}
        self.judged: list[str] = []
        self.refused: list[str] = []
        store = cast(Store, self)
        self.refusals = Refusals(store, LiveJobs(Budget(1)), cast(Any, HandClock()), self.judge)

    async def judge(self, key: str) -> Verdict | None:
        self.judged.append(key)
        return self.verdicts.get(key)

    async def refuse(self, load_key: str, code: str, error: str, at: int) -> Sequence[str]:
        assert (code, error, at > 0) == ("never_fits", "far too large", True)
        self.refused.append(load_key)
        return []


@pytest.mark.parametrize("verdict", [None, Admit(), Hold(Cause.LOAD, "busy", 1, 2)])
async def test_what_may_fit_is_judged_once(verdict: Verdict | None) -> None:
    subject = Subject()
    subject.verdicts["a"] = verdict
    assert subject.refusals.arrived("a")
    await subject.refusals.carry_out()
    assert not subject.refusals.arrived("a")
    await subject.refusals.carry_out()
    assert (subject.judged, subject.refused) == (["a"], [])


async def test_what_never_fits_is_refused_each_time_it_comes() -> None:
    subject = Subject()
    subject.verdicts["a"] = NEVER
    for _ in range(2):
        assert subject.refusals.arrived("a")
        await subject.refusals.carry_out()
    assert subject.refused == ["a", "a"]


async def test_what_was_found_not_to_fit_later_is_judged_again() -> None:
    subject = Subject()
    subject.refusals.arrived("a")
    await subject.refusals.carry_out()
    subject.verdicts["a"] = NEVER
    subject.refusals.doubt("a")
    await subject.refusals.carry_out()
    assert (subject.judged, subject.refused) == (["a", "a"], ["a"])
    assert subject.refusals.arrived("a")


async def test_the_memory_of_load_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "REMEMBERED", 10)
    subject = Subject()
    for n in range(25):
        subject.refusals.arrived(f"m{n}")
        await subject.refusals.carry_out()
        assert len(subject.refusals._known) <= 10
    assert not subject.refusals.arrived("m24")
