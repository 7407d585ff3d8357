"""Relays with one budget and readers of all kinds, in any order of events."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from foreman.core.errors import JobFailed, ReaderCut
from foreman.engine.relay import Budget, Reader, Relay
from tests.engine.relays import HEAD


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
