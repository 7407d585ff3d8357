"""Relays: what readers get of what is fed, and what all relays together hold."""

import asyncio

import pytest

from foreman.core.errors import JobFailed
from foreman.core.job import Answer
from foreman.engine.relay import JOIN_BYTES, Budget, Relay
from tests.engine.relays import HEAD, begun, read, waiting


async def test_a_reader_waits_for_the_head() -> None:
    relay = Relay(Budget(100))
    asking = await waiting(relay.reader().head())
    assert not asking.done()
    relay.begin(HEAD)
    assert await asking is HEAD
    assert await relay.reader().head() is HEAD


def test_nothing_is_released_before_the_head() -> None:
    relay = Relay(Budget(100))
    relay.reader()
    states = [relay.released]
    relay.begin(HEAD)
    assert [*states, relay.released] == [False, True]


async def test_an_error_before_the_head_is_what_every_reader_gets() -> None:
    relay = Relay(Budget(100))
    asking = await waiting(relay.reader().head())
    error = JobFailed("no")
    relay.finish(error)
    for head in (asking, relay.reader().head()):
        with pytest.raises(JobFailed) as caught:
            await head
        assert caught.value is error
    assert relay.answer() is None
    assert not relay.released


async def test_a_reader_that_keeps_up_gets_the_chunks_themselves() -> None:
    relay = begun()
    reader = relay.reader()
    for chunk in (b"one", b"two"):
        asking = await waiting(reader.chunk())
        assert not asking.done()
        relay.feed(chunk)
        assert await asking is chunk


async def test_a_reader_that_fell_behind_gets_large_pieces() -> None:
    line = b"x" * 1024
    relay = begun(None, *[line] * 1000, b"y" * (JOIN_BYTES + 1), b"z")
    reader = relay.reader()
    relay.finish()
    pieces = []
    while (piece := await reader.chunk()) is not None:
        pieces.append(piece)
    assert b"".join(pieces) == line * 1000 + b"y" * (JOIN_BYTES + 1) + b"z"
    assert [len(piece) for piece in pieces] == [JOIN_BYTES] * 3 + [232 * 1024, JOIN_BYTES + 1, 1]


async def test_every_reader_gets_all_of_it_whenever_it_comes() -> None:
    relay = begun()
    first = await waiting(read(relay.reader()))
    relay.feed(b"one ")
    second = await waiting(read(relay.reader()))
    relay.feed(b"two")
    relay.finish()
    third = await waiting(read(relay.reader()))
    assert [await task for task in (first, second, third)] == [b"one two"] * 3


async def test_an_error_comes_after_the_last_byte_and_comes_again() -> None:
    relay = begun(None, b"half")
    reader = relay.reader()
    error = JobFailed("cut", "truncated")
    relay.finish(error)
    assert await reader.chunk() == b"half"
    for _ in range(2):
        with pytest.raises(JobFailed) as caught:
            await reader.chunk()
        assert caught.value is error


async def test_the_end_comes_again() -> None:
    relay = begun(None, b"all")
    reader = relay.reader()
    relay.finish()
    assert [await reader.chunk() for _ in range(3)] == [b"all", None, None]


async def test_the_first_end_counts() -> None:
    relay = begun()
    reader = relay.reader()
    relay.finish()
    relay.finish(JobFailed("late"))
    assert await reader.chunk() is None


@pytest.mark.parametrize("waits_for", ["head", "chunk"])
async def test_a_wait_that_is_given_up_loses_nothing(waits_for: str) -> None:
    relay = Relay(Budget(100))
    if waits_for == "chunk":
        relay.begin(HEAD)
    reader = relay.reader()
    asking = await waiting(getattr(reader, waits_for)())
    relay.begin(HEAD)
    relay.feed(b"kept")
    # It is woken and cancelled in the same moment.
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    relay.finish()
    assert await reader.head() is HEAD
    assert await read(reader) == b"kept"


def test_the_answer_is_all_that_was_fed() -> None:
    relay = begun(None, b"one", b"two")
    assert relay.answer() == Answer(200, HEAD.headers, b"onetwo", complete=True)


def test_an_answer_without_a_head_is_none() -> None:
    assert Relay(Budget(100)).answer() is None


def test_an_empty_answer_is_complete() -> None:
    assert begun().answer() == Answer(200, HEAD.headers, b"", complete=True)


async def test_a_broken_answer_keeps_its_bytes_and_is_not_complete() -> None:
    relay = begun(None, b"half")
    reader = relay.reader()
    relay.finish(JobFailed("cut"))
    assert relay.answer() == Answer(200, HEAD.headers, b"half", complete=False)
    reader.leave()


def test_they_say_in_a_word_how_they_stand() -> None:
    budget = Budget(100)
    relay = Relay(budget)
    assert repr(relay) == "<Relay waiting, 0 bytes, 0 held, 0 readers>"
    relay.begin(HEAD)
    relay.feed(b"one")
    relay.reader()
    assert repr(relay) == "<Relay open, 3 bytes, 3 held, 1 readers>"
    assert repr(budget) == "<Budget 3/100 bytes, 1 relays>"
    relay.finish()
    assert repr(relay).startswith("<Relay finished")
