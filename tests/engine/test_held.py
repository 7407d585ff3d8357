"""How long a slot is held: by a clock that a test moves."""

import asyncio

from foreman.core.lanes import Lane
from foreman.core.slots import SlotRequest
from foreman.engine.held import HeldSlots
from tests.engine.clock import HandClock

REQUEST = SlotRequest(Lane.LOCAL, expiry=30.0)


async def test_it_lives_on_heartbeats_and_is_lost_without() -> None:
    clock = HandClock()
    held = HeldSlots(clock).grant("a", REQUEST)
    over = asyncio.create_task(held.until_over())
    for _ in range(5):
        clock.advance((await clock.waits.get() or 0) - 10)
        held.beat()
        clock.advance(10)  # the time of the heartbeat before
    assert not over.done()
    assert round(await clock.waits.get() or 0) == 20
    clock.advance(20)
    await over
    assert (held.lost, held.left, held.over) == (True, False, False)


async def test_a_process_that_stood_still_waits_for_one_more_heartbeat() -> None:
    clock = HandClock()
    held = HeldSlots(clock).grant("a", REQUEST)
    over = asyncio.create_task(held.until_over())
    await clock.waits.get()
    clock.advance(3600)
    assert round(await clock.waits.get() or 0) == 10
    held.beat()
    clock.advance(10)
    assert round(await clock.waits.get() or 0) == 20
    clock.advance(20)
    await over
    assert held.lost


async def test_one_that_is_given_back_is_not_left_after_that_nor_lost() -> None:
    slots = HeldSlots(HandClock())
    released, left = slots.grant("a", REQUEST), slots.grant("b", REQUEST)
    released.release(3)
    slots.leave()
    for held in (released, left):
        await held.until_over()
    assert (released.exit_status, released.left, released.lost) == (3, False, False)
    assert (left.exit_status, left.left, left.lost) == (None, True, False)
    slots.forget("a")
    assert (slots.get("a"), slots.get("b")) == (None, left)


async def test_when_its_holder_was_heard_of_and_until_when_it_is_held() -> None:
    clock = HandClock()
    held = HeldSlots(clock).grant("a", REQUEST)

    def told() -> tuple[int | None, int]:
        """Seconds from now."""
        heard = None if held.heard_at is None else round(held.heard_at - clock.time())
        return heard, round(held.expires_at - clock.time())

    assert told() == (None, 30)
    clock.advance(5)
    assert told() == (None, 25)
    held.renew()
    assert told() == (None, 30)
    clock.advance(5)
    held.beat()
    clock.advance(5)
    assert told() == (-5, 25)
