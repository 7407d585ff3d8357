"""Waiting with a limit."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from foreman.engine.waiter import Waiter, _expire
from tests.engine.loops import on_both_loops

# Never reached.
LONG = 10.0


async def waiting(waiter: Waiter, patience: float | None) -> asyncio.Task[bool]:
    """A task that has begun to wait."""
    task = asyncio.create_task(waiter.wait(patience))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("patience", [None, LONG])
@on_both_loops
async def test_who_waits_is_woken(patience: float | None) -> None:
    waiter = Waiter()
    for _ in range(3):
        task = await waiting(waiter, patience)
        assert not task.done()
        waiter.wake()
        assert await task is True


@pytest.mark.parametrize("patience", [-1.0, 0.0, 0.001])
@on_both_loops
async def test_who_is_not_woken_waits_no_longer_than_told(patience: float) -> None:
    assert await Waiter().wait(patience) is False


@on_both_loops
async def test_a_call_that_nobody_waits_for_is_forgotten() -> None:
    waiter = Waiter()
    waiter.wake()
    assert await waiter.wait(0.0) is False
    waiter.wake()
    assert await waiter.wait(0.0) is False


@on_both_loops
async def test_to_be_called_twice_is_to_be_called_once() -> None:
    waiter = Waiter()
    task = await waiting(waiter, None)
    waiter.wake()
    waiter.wake()
    assert await task is True
    assert await waiter.wait(0.0) is False


@on_both_loops
async def test_the_call_wins_over_the_limit_that_ends_at_the_same_moment() -> None:
    waiter = Waiter()
    task = await waiting(waiter, 0.0)
    waiter.wake()
    assert await task is True


@on_both_loops
async def test_a_limit_that_ends_behind_the_call_changes_nothing() -> None:
    waiter = Waiter()
    task = await waiting(waiter, LONG)
    future = waiter._future
    assert future is not None
    waiter.wake()
    _expire(future)
    assert await task is True


async def test_nothing_stays_behind_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiter, loop = Waiter(), asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def noted(delay: float, callback: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        timers.append(call_later(delay, callback, *arguments))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    woken, cancelled = await waiting(waiter, LONG), Waiter()
    waiter.wake()
    assert await woken
    task = await waiting(cancelled, LONG)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [timer.cancelled() for timer in timers] == [True, True]


@on_both_loops
async def test_who_gave_up_does_not_take_the_call_of_the_next() -> None:
    waiter = Waiter()
    first = await waiting(waiter, None)
    # The second begins to wait before the first has heard that it is cancelled.
    second = asyncio.create_task(waiter.wait(LONG))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    waiter.wake()
    assert await second is True
