"""The stream of what happens: numbered without a gap, kept for a while, and never waited for in vain."""

import asyncio

from foreman.core.job import LoadKey
from foreman.engine.events import KEPT, Event, Events, Notice
from foreman.engine.live import Live
from foreman.engine.relay import Budget, Relay
from tests.engine.serving import until

LIVE = Live("1", "a:latest", LoadKey("a:latest"), "/api/chat", "curl", Relay(Budget(100)), 1_000)
PATIENCE = 30.0


def test_jobs_and_the_rest_are_numbered_together() -> None:
    events = Events(5)
    events.publish(LIVE)
    events.notice()
    events.publish(LIVE)
    told = events.since(4)
    assert told is not None
    assert [(type(event), event.number) for event in told] == [(Event, 5), (Notice, 6), (Event, 7)]
    assert events.since(6) == told[2:]


def test_who_was_away_too_long_is_told_so() -> None:
    events = Events(1)
    for _ in range(KEPT + 1):
        events.notice()
    assert events.since(0) is None
    assert len(events.since(1) or []) == KEPT
    assert events.since(KEPT + 2) is None  # of another process


async def test_whoever_waits_hears_of_a_notice_and_of_the_end() -> None:
    events = Events(1)
    for happens in (events.notice, events.end):
        waiting = asyncio.create_task(events.news(events.last))
        await until(lambda: "1 waiting" in repr(events))
        happens()
        async with asyncio.timeout(PATIENCE):
            await waiting
