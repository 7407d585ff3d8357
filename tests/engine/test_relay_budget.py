"""What a relay lets go of and when, and which of its readers is cut for it."""

import pytest

from foreman.core.errors import ReaderCut
from foreman.core.job import Answer
from foreman.engine.relay import Budget
from tests.engine.relays import HEAD, begun, read, waiting


def test_an_answer_whose_readers_have_left_is_kept_until_it_ends() -> None:
    relay = begun(None, b"one")
    relay.reader().leave()
    relay.feed(b"two")
    assert relay.answer() == Answer(200, HEAD.headers, b"onetwo", complete=True)


def test_no_more_is_dropped_than_must_be_and_the_oldest_first() -> None:
    budget = Budget(10)
    old, new = begun(budget, b"012345"), begun(budget, b"6789")
    new.feed(b"a")
    answers = [old.answer(), new.answer()]
    assert [answer and answer.body for answer in answers] == [b"", b"6789a"]
    assert budget.used == 5


def test_an_answer_too_large_to_keep_is_not_complete() -> None:
    relay = begun(Budget(3), b"two", b"one")
    assert relay.answer() == Answer(200, HEAD.headers, b"", complete=False)


def test_an_answer_that_was_let_go_is_not_taken_for_a_complete_one() -> None:
    relay = begun(None, b"all")
    relay.finish()
    answer = relay.answer()
    assert answer is not None
    assert not answer.complete


def test_a_finished_relay_holds_nothing_once_its_readers_have_left() -> None:
    budget = Budget(100)
    relay = begun(budget, b"one", b"two")
    readers = [relay.reader(), relay.reader()]
    relay.finish()
    readers[0].leave()
    assert (relay.held, relay.readers, budget.used) == (6, 1, 6)
    readers[1].leave()
    readers[1].leave()
    assert (relay.held, relay.readers, budget.used, relay.size) == (0, 0, 0, 6)
    assert repr(budget) == "<Budget 0/100 bytes, 0 relays>"


def test_a_relay_nobody_reads_lets_go_when_it_finishes() -> None:
    budget = Budget(100)
    relay = begun(budget, b"one")
    assert budget.used == 3
    relay.finish()
    assert (relay.held, budget.used) == (0, 0)


async def test_who_comes_after_the_bytes_are_gone_is_told_so() -> None:
    relay = begun(None, b"all")
    relay.finish()
    reader = relay.reader()
    assert await reader.head() is HEAD
    with pytest.raises(ReaderCut):
        await reader.chunk()
    assert relay.readers == 0
    reader.leave()


async def test_who_comes_after_the_first_bytes_were_dropped_gets_no_gap() -> None:
    budget = Budget(10)
    relay = begun(budget)
    early = relay.reader()
    for chunk in (b"0123", b"4567"):
        relay.feed(chunk)
        assert await early.chunk() == chunk
    relay.feed(b"89ab")
    late = relay.reader()
    with pytest.raises(ReaderCut):
        await late.chunk()
    relay.finish()
    assert await read(early) == b"89ab"


async def test_what_every_reader_has_had_goes_first_and_nobody_is_cut_for_it() -> None:
    budget = Budget(10)
    old, new = begun(budget, b"old"), begun(budget)
    readers = [old.reader(), new.reader(), new.reader()]
    assert await readers[0].chunk() == b"old"
    for number in range(50):
        chunk = b"%07d" % number
        new.feed(chunk)
        assert [await reader.chunk() for reader in readers[1:]] == [chunk, chunk]
        assert budget.used <= 10
    old.finish()
    assert await readers[0].chunk() is None
    assert new.size == 350


async def test_who_is_furthest_behind_is_cut_and_nobody_else() -> None:
    budget = Budget(10)
    relay = begun(budget, b"01")
    slow, fast = relay.reader(), relay.reader()
    relay.feed(b"2345")
    assert await fast.chunk() == b"012345"
    relay.feed(b"6789")
    relay.feed(b"ab")
    with pytest.raises(ReaderCut):
        await slow.chunk()
    relay.finish()
    assert await read(fast) == b"6789ab"


async def test_a_reader_of_little_is_not_cut_for_one_that_hoards() -> None:
    budget = Budget(10)
    small, large = begun(budget, b"12"), begun(budget)
    patient, hoarder = small.reader(), large.reader()
    for _ in range(3):
        large.feed(b"345")
    with pytest.raises(ReaderCut):
        await hoarder.chunk()
    assert await patient.chunk() == b"12"


async def test_an_answer_that_nobody_reads_yet_outlasts_a_reader_that_hoards() -> None:
    budget = Budget(100)
    hoarded = begun(budget)
    reader = hoarded.reader()
    hoarded.feed(b"h" * 60)
    unread = begun(budget, b"u" * 50)
    assert (unread.complete, unread.held, budget.used) == (True, 50, 50)
    with pytest.raises(ReaderCut):
        await read(reader)
    unread.feed(b"u" * 60)
    assert (unread.complete, budget.used) == (False, 0)


async def test_a_chunk_above_the_budget_is_never_held() -> None:
    budget = Budget(10)
    relay = begun(budget)
    asking = await waiting(relay.reader().chunk())
    relay.feed(b"x" * 11)
    assert (relay.held, budget.used, relay.size) == (0, 0, 11)
    with pytest.raises(ReaderCut):
        await asking


async def test_a_cut_reader_may_leave() -> None:
    relay = begun(Budget(1))
    reader = relay.reader()
    relay.feed(b"xx")
    assert relay.readers == 0
    reader.leave()
    relay.finish()
