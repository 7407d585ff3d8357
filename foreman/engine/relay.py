"""One job's answer on its way from the target to whoever reads it.

Rules:
1. The worker feeds, readers read; the worker never waits for a reader.
2. Every reader gets every byte from its own place on, in order, or an error: never a gap, never two attempts mixed.
3. All relays together hold at most the budget. Beyond it, bytes that every reader has had are dropped first (the answer
   is then not kept), after that the readers furthest behind are cut off, and an answer without readers goes last.
4. The first bytes stay held until the head and a first chunk are there, so an attempt can fail unseen until then.
5. Where each chunk is of whole lines that say enough alone, a reader may begin with the oldest held, and the lines of
   another attempt may follow.
6. Who reads may be called for every chunk at the moment it is fed, or wait for it.
Nothing here knows of HTTP, SQL or the target.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from foreman.core.errors import ForemanError, ReaderCut
from foreman.core.job import Answer
from foreman.engine.waiter import Waiter

# A reader that fell behind gets what waits for it in pieces of this size: large enough to be cheap to
# write, small enough not to double the memory the relay already holds.
JOIN_BYTES: Final = 256 * 1024
_CUT: Final = "the answer was not read for so long that it had to be given up"


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of the target's answer, as they go to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]


class Budget:
    """The bytes that all relays together may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._holders: dict[Relay, None] = {}

    def __repr__(self) -> str:
        return f"<Budget {self.used}/{self.limit} bytes, {len(self._holders)} relays>"

    def take(self, relay: "Relay", size: int) -> None:
        self._holders[relay] = None
        self.used += size
        if self.used > self.limit:
            self._shed()

    def give(self, relay: "Relay", size: int) -> None:
        self.used -= size
        if not relay.held:
            self._holders.pop(relay, None)

    def _shed(self) -> None:
        # Oldest first: a finished answer that somebody does not fetch goes before a living one.
        for relay in list(self._holders):
            if self.used > self.limit and (relay.readers or relay.finished):
                relay.drop_read()
        # What is held now, somebody is behind with; who is furthest behind holds most.
        while self.used > self.limit and (read := [relay for relay in self._holders if relay.readers]):
            max(read, key=lambda relay: relay.held).cut_slowest()
        # An answer that nobody reads is the only copy for who comes back for it, so it goes last.
        for relay in list(self._holders):
            if self.used > self.limit:
                relay.drop_read()


class Relay:
    """The answer of one job: fed by the worker, read by any number of readers."""

    __slots__ = (
        *("_base", "_budget", "_chunks", "_readers"),
        *("complete", "error", "finished", "head", "held", "in_lines", "size"),
    )

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._chunks: list[bytes] = []
        self._base = 0  # the number of the first chunk still held
        self._readers: dict[Reader, None] = {}
        self.head: Head | None = None
        self.held = 0
        self.size = 0
        self.complete = True  # no byte was dropped
        self.in_lines = False  # rule 5
        self.finished = False
        self.error: ForemanError | None = None

    def __repr__(self) -> str:
        state = "finished" if self.finished else "open" if self.head else "waiting"
        return f"<Relay {state}, {self.size} bytes, {self.held} held, {len(self._readers)} readers>"

    @property
    def readers(self) -> int:
        return len(self._readers)

    @property
    def released(self) -> bool:
        """Whether anything of this answer can have reached a reader."""
        return self.head is not None

    def begin(self, head: Head) -> None:
        self.head = head
        self._wake()

    def feed(self, chunk: bytes) -> None:
        number, size = self._base + len(self._chunks), len(chunk)
        self._chunks.append(chunk)
        self.size += size
        self.held += size
        # First the readers: who pours has had the chunk before anybody asks who is behind.
        for reader in self._readers:
            reader.fed(chunk, number)
        self._budget.take(self, size)

    def finish(self, error: ForemanError | None = None) -> None:
        """No byte follows. With an error, every reader gets it after the last byte. Later calls change nothing."""
        if not self.finished:
            self.finished = True
            self.error = error
            self._wake()
            self.let_go()

    def fill(self, head: Head, body: bytes, error: ForemanError | None) -> None:
        """Hold a finished answer from the store for the readers to come; the last to leave lets go of it."""
        self.begin(head)
        if body:
            self.feed(body)
        self.finished = True
        self.error = error

    def answer(self) -> Answer | None:
        """What is to be kept, or None where no answer began. Ask before `finish`: nothing is held for ever."""
        if self.head is None:
            return None
        whole = self.complete and self.error is None
        return Answer(self.head.status, self.head.headers, b"".join(self._chunks) if self.complete else b"", whole)

    def reader(self) -> "Reader":
        """A reader of the whole answer; cut off from the start where the beginning is gone, and is needed."""
        reader = Reader(self)
        reader.at = self._base if self.in_lines else 0
        if self._base > reader.at:
            reader.cut()
        else:
            self._readers[reader] = None
        return reader

    def leave(self, reader: "Reader") -> None:
        self._readers.pop(reader, None)
        self.let_go()

    def chunks_from(self, number: int) -> tuple[bytes, int] | None:
        """The bytes from chunk `number` on, joined up to JOIN_BYTES, and the number that follows; None: nothing yet."""
        at = number - self._base
        if at >= len(self._chunks):
            return None
        if at == len(self._chunks) - 1:
            return self._chunks[at], number + 1
        end, size = at, 0
        while end < len(self._chunks) and (size == 0 or size + len(self._chunks[end]) <= JOIN_BYTES):
            size += len(self._chunks[end])
            end += 1
        return b"".join(self._chunks[at:end]), self._base + end

    def drop_read(self) -> None:
        """Drop what every reader has had."""
        behind = min((reader.at for reader in self._readers), default=self._base + len(self._chunks))
        self._drop(behind - self._base)

    def cut_slowest(self) -> None:
        """Give up the reader furthest behind, with what only it still needed."""
        slowest = min(self._readers, key=lambda reader: reader.at)
        del self._readers[slowest]
        slowest.cut()
        self.drop_read()

    def _drop(self, count: int) -> None:
        if count > 0:
            freed = sum(map(len, self._chunks[:count]))
            del self._chunks[:count]
            self._base += count
            self.held -= freed
            self.complete = False
            self._budget.give(self, freed)

    def let_go(self) -> None:
        """Hold nothing more where the answer is finished and nobody reads it."""
        if self.finished and not self._readers:
            self._drop(len(self._chunks))

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()


class Reader:
    """One reader's place in a relay. `leave()` must be called in the end, whatever happens."""

    __slots__ = ("_clock", "_cut", "_held", "_poured_at", "_relay", "_skip", "_take", "_waiter", "at")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._skip = 0
        self._waiter = Waiter()
        self._cut = False
        self._held = False
        self._take: Callable[[bytes], None] | None = None
        self._clock: Callable[[], float]  # while it pours
        self._poured_at = 0.0
        self.at = 0

    def skip(self, size: int) -> None:
        """Leave out the first `size` bytes. To be said before the first is read."""
        self._skip = max(0, size - (self._relay.size - self._relay.held))

    async def head(self) -> Head:
        """Wait for status and headers. Raises the relay's error where there will be none."""
        while (head := await self.head_within(None)) is None:
            pass
        return head

    async def head_within(self, patience: float | None) -> Head | None:
        """As `head`; None where they do not come within `patience` seconds."""
        while (head := self._relay.head) is None:
            if self._relay.error is not None:
                raise self._relay.error
            if not await self._waiter.wait(patience):
                return None
        return head

    async def chunk(self, patience: float | None = None) -> bytes | None:
        """The next bytes, or None after the last; b"" where none come within `patience` seconds.

        Raises the relay's error after the last byte, or ReaderCut.
        """
        while True:
            if self._cut:
                raise ReaderCut(_CUT)
            while (chunk := self._next()) is not None:
                if chunk:
                    return chunk
            if self._relay.finished:
                if self._relay.error is not None:
                    raise self._relay.error
                return None
            if not await self._waiter.wait(patience):
                return b""

    async def pour(self, take: Callable[[bytes], None], patience: float | None = None) -> bool:
        """Hand all that follows to `take`, at the moment when it comes; `take` must not raise.

        True after the last byte; False where none came for `patience` seconds. Raises as `chunk` does.
        """
        clock = self._clock = asyncio.get_running_loop().time
        self._take, self._poured_at = take, clock()
        try:
            while True:
                self._pour()
                if self._cut:
                    raise ReaderCut(_CUT)
                if self._relay.finished and not self._behind:
                    if self._relay.error is not None:
                        raise self._relay.error
                    return True
                left = None if patience is None or self._held else patience - (clock() - self._poured_at)
                if left is not None and left <= 0:
                    return False
                await self._waiter.wait(left)
        finally:
            self._take = None

    def hold(self, held: bool) -> None:
        """Have `pour` wait, or go on."""
        self._held = held
        if not held:
            self._pour()
            self._waiter.wake()

    def _pour(self) -> None:
        take, first = self._take, self.at
        while take is not None and not self._held and (chunk := self._next()) is not None:
            if chunk:
                take(chunk)
        if self.at != first:
            self._poured_at = self._clock()

    def _next(self) -> bytes | None:
        """What there is of the bytes that follow; empty where all of it is to be left out."""
        if self._cut or (found := self._relay.chunks_from(self.at)) is None:
            return None
        chunk, self.at = found
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        return chunk[skipped:] if skipped else chunk

    @property
    def _behind(self) -> bool:
        return self._relay.chunks_from(self.at) is not None

    def leave(self) -> None:
        self._relay.leave(self)

    def cut(self) -> None:
        self._cut = True
        self.wake()

    def fed(self, chunk: bytes, number: int) -> None:
        """The chunk of this number has come."""
        take = self._take
        if take is None or self._held or self._skip or self.at != number:
            self.wake()
            return
        self.at = number + 1
        take(chunk)
        self._poured_at = self._clock()

    def wake(self) -> None:
        if self._take is not None:
            self._pour()
            if not (self._relay.finished or self._cut):
                return
        self._waiter.wake()
