"""Readers of a relay that are called, instead of waiting."""

import asyncio

import pytest

from foreman.core.errors import JobFailed, ReaderCut
from foreman.core.job import Answer
from foreman.engine.relay import JOIN_BYTES, Budget
from foreman.engine.waiter import Waiter
from tests.engine.relays import HEAD, begun, read, waiting


class Poured(list[bytes]):
    """What was poured, piece by piece."""

    def __call__(self, chunk: bytes) -> None:
        self.append(chunk)


async def test_who_pours_gets_every_chunk_at_the_moment_it_is_fed() -> None:
    relay = begun(None, b"one ", b"two ")
    reader, got = relay.reader(), Poured()
    pouring = await waiting(reader.pour(got))
    assert got == [b"one two "]
    for chunk in (b"three ", b"four"):
        relay.feed(chunk)
        assert got[-1] is chunk
    relay.finish()
    assert await pouring is True
    assert (len(got), relay.held) == (3, 18)
    reader.leave()
    assert relay.held == 0


async def test_who_pours_what_is_finished_gets_all_of_it_at_once() -> None:
    relay = begun(None, b"one", b"two")
    reader, got = relay.reader(), Poured()
    relay.finish()
    assert await reader.pour(got) is True
    assert await reader.pour(got) is True
    assert got == [b"onetwo"]


async def test_what_is_left_out_is_not_poured() -> None:
    relay = begun(None, b"0123")
    reader, got = relay.reader(), Poured()
    reader.skip(6)
    pouring = await waiting(reader.pour(got))
    relay.feed(b"4567")
    relay.finish()
    assert await pouring is True
    assert got == [b"67"]


async def test_of_lines_a_late_reader_gets_the_oldest_that_are_held() -> None:
    relay = begun(Budget(8))
    relay.in_lines = True
    early = relay.reader()
    for line in (b"one\n", b"two\n", b"three\n"):
        relay.feed(line)
        await early.chunk()
    late = relay.reader()
    relay.finish()
    assert (await read(late), await read(early)) == (b"three\n", b"")
    assert relay.answer() == Answer(200, HEAD.headers, b"", complete=False)


async def test_of_lines_what_is_left_out_counts_from_the_first_that_ever_was() -> None:
    relay = begun(Budget(8))
    relay.in_lines = True
    early = relay.reader()
    for line in (b"one\n", b"two\n", b"three\n"):
        relay.feed(line)
        await early.chunk()
    relay.finish()
    for offset, rest in ((0, b"three\n"), (8, b"three\n"), (10, b"ree\n"), (14, b"")):
        reader = relay.reader()
        reader.skip(offset)
        assert await read(reader) == rest


async def test_the_lines_of_another_attempt_follow() -> None:
    relay = begun(None, b"one\n")
    reader = relay.reader()
    relay.begin(HEAD)
    relay.feed(b"one\n")
    relay.finish()
    assert await read(reader) == b"one\none\n"


async def test_pouring_ends_where_nothing_comes_for_long_and_can_go_on() -> None:
    relay = begun(None, b"one")
    reader, got = relay.reader(), Poured()
    assert await reader.pour(got, 0.001) is False
    relay.feed(b"two")
    assert got == [b"one"]
    pouring = await waiting(reader.pour(got, 60))
    relay.finish()
    assert await pouring is True
    assert got == [b"one", b"two"]


async def test_every_chunk_begins_the_patience_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = begun()
    reader, clock = relay.reader(), 0.0
    loop = asyncio.get_running_loop()
    waits: list[float | None] = []

    async def wait(_: Waiter, patience: float | None) -> bool:
        nonlocal clock
        waits.append(patience)
        if len(waits) == 1:
            clock = 7.0
            relay.feed(b"one")
            clock = 10.0
        else:
            clock = 17.0
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Waiter, "wait", wait)
        patch.setattr(loop, "time", lambda: clock)
        assert await reader.pour(Poured(), 10) is False
    assert waits == [10, 7]


async def test_an_error_comes_after_the_last_byte_was_poured() -> None:
    relay = begun(None, b"half")
    reader, got = relay.reader(), Poured()
    pouring = await waiting(reader.pour(got))
    error = JobFailed("cut", "truncated")
    relay.feed(b" more")
    relay.finish(error)
    with pytest.raises(JobFailed) as caught:
        await pouring
    assert caught.value is error
    assert got == [b"half", b" more"]


async def test_who_is_held_gets_nothing_until_it_is_released() -> None:
    relay = begun(None, b"one")
    reader, got = relay.reader(), Poured()
    reader.hold(True)
    pouring = await waiting(reader.pour(got, 0.001))
    relay.feed(b"two")
    assert got == []
    reader.hold(False)
    assert got == [b"onetwo"]
    reader.hold(True)
    relay.feed(b"three")
    assert got == [b"onetwo"]
    reader.hold(False)
    assert got == [b"onetwo", b"three"]
    assert await pouring is False


async def test_who_is_held_does_not_lose_its_patience() -> None:
    relay = begun()
    reader, got = relay.reader(), Poured()
    reader.hold(True)
    pouring = await waiting(reader.pour(got, 0.001))
    assert await relay.reader().pour(Poured(), 0.001) is False
    assert not pouring.done()
    reader.hold(False)
    assert await pouring is False


async def test_who_is_held_while_it_takes_stops_there() -> None:
    line = b"x" * JOIN_BYTES
    relay = begun(None, *[line] * 3)
    reader, got = relay.reader(), Poured()

    def take(chunk: bytes) -> None:
        got.append(chunk)
        reader.hold(True)

    pouring = await waiting(reader.pour(take))
    relay.finish()
    assert len(got) == 1
    reader.hold(False)
    assert len(got) == 2
    assert not pouring.done()
    reader.hold(False)
    assert await pouring is True
    assert got == [line] * 3


@pytest.mark.parametrize("error", [None, JobFailed("cut")])
async def test_an_end_while_held_waits_for_the_bytes_before_it(error: JobFailed | None) -> None:
    relay = begun()
    reader, got = relay.reader(), Poured()
    reader.hold(True)
    pouring = await waiting(reader.pour(got))
    relay.feed(b"late")
    relay.finish(error)
    await asyncio.sleep(0)
    assert not pouring.done()
    reader.hold(False)
    assert got == [b"late"]
    if error is None:
        assert await pouring is True
        return
    with pytest.raises(JobFailed) as caught:
        await pouring
    assert caught.value is error


async def test_an_end_while_held_with_nothing_before_it_needs_no_release() -> None:
    relay = begun()
    reader = relay.reader()
    reader.hold(True)
    pouring = await waiting(reader.pour(Poured()))
    relay.finish()
    assert await pouring is True


async def test_who_is_held_too_long_is_cut_and_gets_nothing_of_what_follows() -> None:
    relay = begun(Budget(10))
    reader, got = relay.reader(), Poured()
    pouring = await waiting(reader.pour(got))
    relay.feed(b"0123")
    reader.hold(True)
    for chunk in (b"4567", b"89ab", b"cdef"):
        relay.feed(chunk)
    reader.hold(False)
    relay.feed(b"ghij")
    with pytest.raises(ReaderCut):
        await pouring
    assert got == [b"0123"]


async def test_who_pours_after_the_first_bytes_were_dropped_gets_no_gap() -> None:
    relay = begun(Budget(10))
    early, got = relay.reader(), Poured()
    pouring = await waiting(early.pour(got))
    for chunk in (b"0123", b"4567", b"89ab"):
        relay.feed(chunk)
    late = Poured()
    with pytest.raises(ReaderCut):
        await relay.reader().pour(late)
    assert late == []
    relay.finish()
    assert await pouring is True
    assert got == [b"0123", b"4567", b"89ab"]


async def test_who_pours_is_never_behind_and_not_cut_for_one_that_hoards() -> None:
    budget = Budget(10)
    relay = begun(budget)
    hoarder, swift, got = relay.reader(), relay.reader(), Poured()
    pouring = await waiting(swift.pour(got))
    for number in range(20):
        relay.feed(b"%04d" % number)
        assert budget.used <= 10
    with pytest.raises(ReaderCut):
        await hoarder.chunk()
    relay.finish()
    assert await pouring is True
    assert got == [b"%04d" % number for number in range(20)]


async def test_who_pours_is_not_cut_for_answers_that_wait_for_their_readers() -> None:
    budget = Budget(10)
    unread, relay = begun(budget, b"01234567"), begun(budget)
    reader, got = relay.reader(), Poured()
    pouring = await waiting(reader.pour(got))
    for chunk in (b"abcd", b"e" * 11):
        relay.feed(chunk)
    relay.finish()
    assert await pouring is True
    assert got == [b"abcd", b"e" * 11]
    assert (unread.complete, budget.used) == (True, 8)


async def test_one_may_pour_and_another_wait() -> None:
    relay = begun(None, b"one ")
    swift, slow, got = relay.reader(), relay.reader(), Poured()
    pouring, asking = await waiting(swift.pour(got)), await waiting(read(slow))
    relay.feed(b"two ")
    relay.feed(b"three")
    assert got == [b"one ", b"two ", b"three"]
    relay.finish()
    assert (await pouring, await asking) == (True, b"one two three")


async def test_pouring_that_is_given_up_loses_nothing() -> None:
    relay = begun(None, b"one ")
    reader, got = relay.reader(), Poured()
    pouring = await waiting(reader.pour(got))
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    relay.feed(b"two")
    relay.finish()
    assert got == [b"one "]
    assert await read(reader) == b"two"
