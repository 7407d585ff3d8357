"""`foreman demo`: two models, a dozen clients, a kill -9 in mid-queue, a restart, and what became of it all.

Everything is real but the models: a stub of Ollama, `foreman serve` on a temporary database, and the official clients
each run as they would at a user's. The story is told once here; the other demo modules look, draw and judge.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

import aiohttp

from foreman.cli import demo_sources
from foreman.cli.children import FOREMAN_READY, STUB_READY, Child, child, serve_arguments
from foreman.cli.demo_clients import KINDS, Chat, ask, import_clients
from foreman.cli.demo_facts import Evidence, Row, broken, fifo_loads, summary
from foreman.cli.demo_view import Board, View, view_for
from foreman.core.errors import StartupError
from foreman.core.job import ACTIVE, JobState

MODELS: Final = ("gemma3:4b", "qwen3:8b")
CHATS: Final = 12
TOKENS: Final = 40
LOAD_SECONDS: Final = 2.0
TOKENS_PER_SECOND: Final = 20.0
# The kill comes when so many chats are done and the next is so many tokens into its answer.
KILL_AFTER: Final = 4
KILL_AT_TOKEN: Final = 16
# How long a person may look at the dead.
DEAD_SECONDS: Final = 2.0
TICK_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 120.0


def run(pace: float = 1.0) -> int:
    """Play the demo and return the exit status: 0 when all held. `pace` stretches its times.

    Raises StartupError where something of it cannot start.
    """
    import_clients()
    start = monotonic()
    view = view_for(sys.stdout, os.environ, lambda: monotonic() - start)
    try:
        seen = asyncio.run(_guarded(view, pace))
    except (KeyboardInterrupt, asyncio.CancelledError):
        view.event("stopped; nothing is left running")
        return 130
    finally:
        view.close()
    return report(seen)


def report(seen: Evidence) -> int:
    """Print the summary and the verdict; the exit status."""
    print()
    for label, value in summary(seen):
        print(f"  {label:<40}{value:>5}")
    print()
    wrong = broken(seen)
    for sentence in wrong:
        print(f"  DID NOT HOLD: {sentence}")
    if not wrong:
        print("  All of it held: nothing was lost, and each model was loaded once.")
    return 1 if wrong else 0


async def _guarded(view: View, pace: float) -> Evidence:
    """The demo within its time; a polite kill ends it as Ctrl-C does, so that nothing is left behind."""
    task = asyncio.current_task()
    if task is not None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foreman-demo-")))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            arguments = _stub_arguments(pace)
            stub = await stack.enter_async_context(child("the stub", *arguments, ready=STUB_READY))
            return await Demo(view, folder, session, stub, pace).play()
    except TimeoutError as error:
        raise StartupError(f"the demo did not end within {PATIENCE_SECONDS:g} s") from error


def _stub_arguments(pace: float) -> tuple[str, ...]:
    models = (f"--model={model}" for model in MODELS)
    speeds = (f"--load-seconds={LOAD_SECONDS * pace}", f"--tokens-per-second={TOKENS_PER_SECOND / pace}")
    return ("foreman.testing", "--listen=127.0.0.1:0", *models, *speeds, f"--tokens={TOKENS}")


def chats() -> tuple[Chat, ...]:
    """A dozen chats that alternate between the models; each client speaks to each model equally often."""
    return tuple(
        Chat(number + 1, KINDS[number // len(MODELS) % len(KINDS)], MODELS[number % len(MODELS)])
        for number in range(CHATS)
    )


class Demo:
    """One showing: what has been seen so far, and the steps of the story."""

    def __init__(self, view: View, folder: Path, session: aiohttp.ClientSession, stub: Child, pace: float) -> None:
        self._view = view
        self._folder = folder
        self._session = session
        self._stub = stub
        self._pace = pace
        self._foreman: Child | None = None
        self._killed = False
        self._chats = chats()
        self._asking: list[asyncio.Task[None]] = []
        self._rows: tuple[Row, ...] = ()
        self._ledger = demo_sources.NOTHING
        self._news = asyncio.Event()

    async def play(self) -> Evidence:
        """The whole story, in order. Raises StartupError when a part of it ends early."""
        load = LOAD_SECONDS * self._pace
        self._view.event(f"a stub of Ollama has {' and '.join(MODELS)}; a load takes {load:g} s")
        try:
            async with self._serving("127.0.0.1:0") as foreman:
                self._view.event(f"foreman serves at {foreman.url}; its database is empty")
                await self._arrivals(foreman.url)
                await self._until(self._in_mid_answer)
                at_kill = await self._kill(foreman)
        finally:
            for task in self._asking:
                task.cancel()
        async with self._serving(foreman.url.removeprefix("http://")) as foreman:
            after = demo_sources.rows(self._folder)
            self._view.banner(_restart_words(at_kill, after), "relief")
            await self._until(lambda: any(row.state in ACTIVE for row in self._rows))
            self._view.event(await self._health(foreman))
            await self._until(lambda: not any(row.open for row in self._rows))
        return Evidence(
            chats=CHATS,
            load_seconds=load,
            at_kill=at_kill,
            after_restart=after,
            at_end=self._rows,
            loads=self._ledger.loads,
            most_at_once=self._ledger.most_at_once,
            sent=self._ledger.sent,
            cut_clients=sum(bool(chat.error) for chat in self._chats),
        )

    @asynccontextmanager
    async def _serving(self, listen: str) -> AsyncIterator[Child]:
        arguments = serve_arguments(self._stub.url, self._folder, listen)
        async with child("foreman", *arguments, ready=FOREMAN_READY) as foreman:
            self._foreman = foreman
            yield foreman

    async def _arrivals(self, url: str) -> None:
        """One chat after another, each when the one before lies in the database; no load ends before the last."""
        self._view.event(f"{CHATS} chats by the real ollama and openai clients, models alternating")
        await self._stub_control("hold_loads")
        for count, chat in enumerate(self._chats, 1):
            self._asking.append(asyncio.create_task(ask(chat, url, self._news.set)))
            await self._until(lambda count=count: len(self._rows) >= count)  # type: ignore[misc]
        await self._stub_control("release_loads")

    async def _kill(self, foreman: Child) -> tuple[Row, ...]:
        """kill -9, and what lies in the database then."""
        self._killed = True
        await foreman.kill()
        self._foreman = None
        at_kill = demo_sources.rows(self._folder)
        states = Counter(row.state for row in at_kill)
        lying = ", ".join(f"{states[state]} {state}" for state in JobState if states[state])
        self._view.banner(f"KILL -9  foreman is dead. Its database: {lying}", "alarm")
        await self._until(lambda: all(chat.ended for chat in self._chats))
        cut = [chat for chat in self._chats if chat.error]
        errors = ", ".join(sorted({chat.error.partition(":")[0] for chat in cut}))
        self._view.event(f"{len(cut)} clients cut off: {errors}")
        await asyncio.sleep(DEAD_SECONDS * self._pace)
        return at_kill

    def _in_mid_answer(self) -> bool:
        ended = sum(chat.ended for chat in self._chats)
        return ended >= KILL_AFTER and any(chat.tokens >= KILL_AT_TOKEN and not chat.ended for chat in self._chats)

    async def _health(self, foreman: Child) -> str:
        async with self._session.get(f"{foreman.url}/health") as response:
            health = await response.json()
        running = health["running"]
        doing = "nothing running" if running is None else f"job {running['id'][-6:]} {running['state']}"
        return f"GET /health: {health['status']}, {health['queue']['depth']} queued, {doing}"

    async def _stub_control(self, word: str) -> None:
        async with self._session.post(f"{self._stub.url}/_stub/{word}") as response:
            response.raise_for_status()

    async def _until(self, seen: Callable[[], bool]) -> None:
        """Look and draw, at every piece an answer brings and at every tick, until `seen`."""
        while True:
            await self._look()
            if seen():
                return
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS * self._pace):
                    await self._news.wait()

    async def _look(self) -> None:
        """Bring what is shown up to date. Raises StartupError when something is dead that should live."""
        self._stub.check()
        if self._foreman is not None:
            self._foreman.check()
        failed = None if self._killed else next((chat for chat in self._chats if chat.error), None)
        if failed is not None:
            raise StartupError(f"chat {failed.number} failed before the kill: {failed.error}")
        self._rows = demo_sources.rows(self._folder)
        self._ledger = await demo_sources.ledger(self._session, self._stub.url)
        for row in self._rows:
            chat = self._chats[row.number - 1]
            if chat.error and self._foreman is not None:
                chat.tokens = 0 if row.state == "queued" else min(self._ledger.chunks.get(row.number, 0), TOKENS)
            chat.job = row.id
            chat.state = "working" if row.state == "loading" and chat.tokens else row.state
        self._view.show(self._board())

    def _board(self) -> Board:
        foreman = self._foreman
        return Board(
            chats=self._chats,
            models=MODELS,
            answer_tokens=TOKENS,
            order=self._ledger.order,
            loads=self._ledger.loads,
            fifo_loads=fifo_loads([row.load_key for row in self._rows]),
            foreman="" if foreman is None else f"process {foreman.pid}, {foreman.url}",
        )


def _restart_words(before: Sequence[Row], after: Sequence[Row]) -> str:
    kept = {row.id for row in before if row.open} & {row.id for row in after}
    return f"RESTART  foreman is back with the same {len(kept)} open jobs, by their ids"
