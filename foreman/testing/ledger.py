"""The ledger: what reached a stub, what it sent, how each request ended, and what was loaded meanwhile.

Entries are only ever appended, and only filled in further until they end. Every change wakes those who wait.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeVar

Found = TypeVar("Found")


class Ending(StrEnum):
    """How a request ended; OPEN until it has."""

    OPEN = "open"
    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    CUT = "cut"


class Load(NamedTuple):
    """A model that was loaded, with the load options the request named."""

    name: str
    options: dict[str, int | bool]


@dataclass(slots=True, eq=False)
class Entry:
    """One request. Times are unix seconds; `written`, `chunks` and `sha256` speak of body bytes sent.

    `model` is the name as the client sent it, `concurrent` counts the worker inference requests, pulls and creates in
    flight when this one arrived, itself included. `held` is True while a script holds the answer back.
    """

    number: int
    at: float
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    body_sha256: str = hashlib.sha256().hexdigest()
    model: str = ""
    concurrent: int = 0
    held: bool = False
    status: int | None = None
    began_at: float | None = None
    ended_at: float | None = None
    written: int = 0
    chunks: int = 0
    ending: Ending = Ending.OPEN
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def sha256(self) -> str:
        """Of the body bytes written so far."""
        digest: str = self._digest.hexdigest()
        return digest

    def count(self, data: bytes) -> None:
        self.written += len(data)
        self.chunks += 1
        self._digest.update(data)

    def json(self) -> dict[str, Any]:
        """The entry for the remote control; the body as text, invalid UTF-8 replaced."""
        names = ("number", "at", "method", "path", "body_sha256", "model", "concurrent", "held", "status")
        more = ("began_at", "ended_at", "written", "chunks", "sha256", "ending")
        shown = {name: getattr(self, name) for name in (*names, *more)}
        return shown | {"headers": list(self.headers), "body": self.body.decode("utf-8", "replace")}


class Ledger:
    """All entries of a stub, oldest first; at most the newest `limit` when one is given."""

    def __init__(self, limit: int | None = None) -> None:
        self.entries: list[Entry] = []
        self.loads: list[Load] = []
        self.unloads: list[str] = []
        self.concurrent = 0
        self.max_concurrent = 0
        self._limit = limit
        self._count = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def on(self, path: str) -> list[Entry]:
        """The entries of one path, oldest first."""
        return [entry for entry in self.entries if entry.path == path]

    def arrived(self, method: str, path: str, headers: tuple[tuple[str, str], ...]) -> Entry:
        self._count += 1
        entry = Entry(self._count, time.time(), method, path, headers)
        self.entries.append(entry)
        if self._limit is not None and len(self.entries) > self._limit:
            del self.entries[0]
        self.changed()
        return entry

    @contextmanager
    def working(self, entry: Entry) -> Iterator[None]:
        """Counts a worker inference request or a pull for as long as the target is busy with it."""
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        entry.concurrent = self.concurrent
        self.changed()
        try:
            yield
        finally:
            self.concurrent -= 1
            self.changed()

    def ended(self, entry: Entry, ending: Ending) -> None:
        """The first ending counts."""
        if entry.ending is Ending.OPEN:
            entry.ending, entry.ended_at, entry.held = ending, time.time(), False
            self.changed()

    def cut_short(self) -> None:
        """Everything still open has been cut by the stub."""
        for entry in self.entries:
            self.ended(entry, Ending.CUT)

    def loaded(self, name: str, options: dict[str, int | bool]) -> None:
        self.loads.append(Load(name, options))
        self.changed()

    def unloaded(self, name: str) -> None:
        self.unloads.append(name)
        self.changed()

    def changed(self) -> None:
        """Wakes those who wait, to look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def held(self, timeout: float = 10.0) -> Entry:
        """The oldest request a script holds back, as soon as there is one. Raises TimeoutError."""
        return await self.wait_for(lambda _: next((entry for entry in self.entries if entry.held), None), timeout)

    async def wait_for(
        self, predicate: Callable[["Ledger"], Found | Literal[False] | None], timeout: float = 10.0
    ) -> Found:
        """The first true value of `predicate`, tried now and after every change.

        Raises TimeoutError after `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            while not (found := predicate(self)):
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.add(waiter)
                await waiter
        return found
