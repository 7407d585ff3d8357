"""Relays: what readers get of what is fed, and what all relays together hold."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from foreman.core.errors import JobFailed, ReaderCut
from foreman.core.job import Answer
from foreman.engine.relay import JOIN_BYTES, Budget, Head, Reader, Relay
from foreman.engine.waiter import Waiter

HEAD = Head(200, (("content-type", "application/x-ndjson"),))
T = TypeVar("T")


def begun(budget: Budget | None = None, *chunks: bytes) -> Relay:
    relay = Relay(budget or Budget(1 << 30))
    relay.begin(HEAD)
    for chunk in chunks:
        relay.feed(chunk)
    return relay


async def read(reader: Reader) -> bytes:
    """All there is until the end."""
    got = b""
    while (chunk := await reader.chunk()) is not None:
        assert chunk
        got += chunk
    return got


async def waiting(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has gone as far as it can."""
    task = asyncio.create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


class Poured(list[bytes]):
    """What was poured, piece by piece."""

    def __call__(self, chunk: bytes) -> None:
        self.append(chunk)


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


# -- readers that are called


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


@dataclass(eq=False)
class Fed:
    """A relay and what it was given."""

    relay: Relay
    body: bytearray = field(default_factory=bytearray)
    error: JobFailed | None = None

    @property
    def dropped(self) -> bool:
        return self.relay.held < len(self.body)


@dataclass(eq=False)
class Got:
    """A reader, what it has received, and how that ended."""

    source: Fed
    reader: Reader
    late: bool
    body: bytearray = field(default_factory=bytearray)
    asking: asyncio.Task[bytes | None] | None = None
    held: bool = False
    end: str = ""


class Relays(RuleBasedStateMachine):
    """Three relays share one budget; feeding, reading, pouring, leaving and giving up a wait come in any order."""

    LIMIT = 60
    sources = Bundle("sources")
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.budget = Budget(self.LIMIT)
        self.fed: list[Fed] = []
        self.got: list[Got] = []
        self.total = 0

    def settle(self) -> None:
        """Let every task go as far as it can, and take in what came."""

        async def turns() -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for got in self.got:
            if got.asking is not None and got.asking.done():
                if not got.asking.cancelled():
                    self.take(got, got.asking)
                got.asking = None
        self.nobody_waits_for_what_is_there()

    async def chunk_of(self, reader: Reader) -> bytes | None:
        return await reader.chunk()

    async def poured(self, got: Got) -> None:
        assert await got.reader.pour(got.body.extend) is True

    def take(self, got: Got, asking: asyncio.Task[bytes | None]) -> None:
        error = asking.exception()
        if isinstance(error, ReaderCut):
            assert got.late or self.total > self.LIMIT, "cut with room to spare"
            got.end = "cut"
            return
        assert not got.late
        assert error is None or error is got.source.error
        if error is not None or (chunk := asking.result()) is None:
            assert error is got.source.error
            got.end = "all"
        else:
            assert chunk
            got.body += chunk

    @precondition(lambda self: len(self.fed) < 3)
    @rule(target=sources)
    def open(self) -> Fed:
        self.fed.append(Fed(Relay(self.budget)))
        return self.fed[-1]

    @rule(source=sources)
    def begin(self, source: Fed) -> None:
        if not source.relay.finished:
            source.relay.begin(HEAD)

    @rule(source=sources, size=st.integers(1, 30) | st.just(LIMIT + 1))
    def feed(self, source: Fed, size: int) -> None:
        if source.relay.released and not source.relay.finished:
            chunk = bytes((len(source.body) + n) % 251 for n in range(size))
            source.body += chunk
            self.total += size
            source.relay.feed(chunk)

    @rule(source=sources, failing=st.booleans())
    def finish(self, source: Fed, *, failing: bool) -> None:
        if source.relay.released and not source.relay.finished:
            source.error = JobFailed("broken") if failing else None
            source.relay.finish(source.error)

    @rule(target=readers, source=sources)
    def join(self, source: Fed) -> Got:
        self.got.append(Got(source, source.relay.reader(), late=source.dropped))
        return self.got[-1]

    @rule(got=readers)
    def ask(self, got: Got) -> None:
        if got.asking is None and not got.end:
            got.asking = self.loop.create_task(self.chunk_of(got.reader))

    @rule(got=readers)
    def pour(self, got: Got) -> None:
        if got.asking is None and not got.end:
            got.asking = self.loop.create_task(self.poured(got))

    @rule(got=readers, held=st.booleans())
    def hold(self, got: Got, *, held: bool) -> None:
        if not got.end:
            got.held = held
            got.reader.hold(held)

    @rule(got=readers)
    def give_up(self, got: Got) -> None:
        """The wait is cancelled, whether or not it has just been woken."""
        if got.asking is not None:
            got.asking.cancel()

    @rule()
    def turn(self) -> None:
        self.settle()

    @rule(got=consumes(readers))
    def leave(self, got: Got) -> None:
        if got.asking is not None:
            got.asking.cancel()
        got.reader.leave()
        got.end = got.end or "left"

    @invariant()
    def the_budget_is_kept_and_counts_right(self) -> None:
        held = [sum(map(len, fed.relay._chunks)) for fed in self.fed]
        assert held == [fed.relay.held for fed in self.fed]
        assert sum(held) == self.budget.used <= self.LIMIT
        assert set(self.budget._holders) == {fed.relay for fed in self.fed if fed.relay.held}

    def nobody_waits_for_what_is_there(self) -> None:
        for got in self.got:
            if got.asking is not None and not got.held:
                assert got.body == got.source.body
                assert not got.source.relay.finished

    @invariant()
    def every_reader_has_the_fed_bytes_in_order(self) -> None:
        for got in self.got:
            assert got.body == got.source.body[: len(got.body)]
            if got.end == "all":
                assert got.source.relay.finished
                assert got.body == got.source.body

    @invariant()
    def the_answer_is_whole_or_says_that_it_is_not(self) -> None:
        for fed in self.fed:
            answer = fed.relay.answer()
            assert (answer is None) == (fed.relay.head is None)
            if answer is not None:
                assert answer.complete == (not fed.dropped and fed.error is None)
                assert answer.body == (b"" if fed.dropped else fed.body)

    @invariant()
    def a_finished_relay_without_readers_holds_nothing(self) -> None:
        for fed in self.fed:
            if fed.relay.finished and not fed.relay.readers:
                assert fed.relay.held == 0

    def teardown(self) -> None:
        """In the end everybody reads on: to the last byte, or to the word that it was given up."""
        for fed in self.fed:
            self.begin(fed)
            self.finish(fed, failing=False)
        for got in self.got:
            self.hold(got, held=False)
            for _ in range(100):
                self.ask(got)
                self.settle()
            assert got.end
            self.every_reader_has_the_fed_bytes_in_order()
            got.reader.leave()
        assert self.budget.used == 0
        self.loop.close()


TestRelays = Relays.TestCase
TestRelays.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
