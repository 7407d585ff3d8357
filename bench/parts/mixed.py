"""What users feel: chats of several models, interleaved, straight to a target with room for one model, and by foreman.

The target is foreman.testing's stub in a process of its own, which keeps Ollama's rules: models load one at a time and
in the order asked, what fits the loaded model does not queue, and another context length is another load.
Each client asks once, so the order of arrival is the order of the list. The third way kills foreman with -9 half way
and starts it again; clients that are cut off ask again with the same Idempotency-Key until they are answered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final

import aiohttp

from bench.figures.budget import RESTARTED
from bench.figures.record import Mixed
from bench.figures.turn import DIRECT, FOREMAN
from bench.servers.ports import free_port
from bench.servers.subjects import foreman
from bench.wire import drive
from bench.wire.connection import AnswerVoid
from foreman.cli.children import STUB_READY, child

# As far apart as arrivals of people are at the worst: all wait, but in a known order.
APART_SECONDS: Final = 0.01
AGAIN_SECONDS: Final = 0.05
TOKENS: Final = 8
TOKENS_PER_SECOND: Final = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """What one client asks for."""

    model: str
    num_ctx: int | None = None

    def body(self) -> dict[str, Any]:
        message = {"role": "user", "content": "What does a foreman do?"}
        options = {} if self.num_ctx is None else {"options": {"num_ctx": self.num_ctx}}
        return {"model": self.model, "messages": [message], "stream": True, **options}


_MODELS: Final = ("gemma3:4b", "qwen3:8b", "llama3:8b", "mistral:7b")
SCENARIOS: Final = {
    "two models": tuple(map(Kind, _MODELS[:2])),
    "four models": tuple(map(Kind, _MODELS)),
    "two models, three contexts": (
        Kind(_MODELS[0], 4096),
        Kind(_MODELS[1]),
        Kind(_MODELS[0], 16384),
    ),
}


@dataclass(slots=True)
class Tally:
    """What became of the chats; `seconds` is how long all of them took. `half` is set when `until` have ended."""

    until: int = 0
    waits: list[float] = field(default_factory=list)
    failures: int = 0
    cut_off: int = 0
    seconds: float = 0.0
    half: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, wait: float, answered: bool) -> None:
        self.waits.append(wait)
        self.failures += not answered
        if len(self.waits) >= self.until:
            self.half.set()


async def mixed(
    folder: Path, scenarios: int, chats: int, load_seconds: float, rounds: int, say: Callable[[str], None]
) -> list[Mixed]:
    """The first so many scenarios each way, once a round. Raises StartupError, AnswerVoid."""
    found: list[Mixed] = []
    for number in range(rounds):
        for scenario, kinds in list(SCENARIOS.items())[:scenarios]:
            for way in (DIRECT, FOREMAN, RESTARTED):
                say(f"round {number + 1} of {rounds}: mixed, {scenario}, {way}")
                where = folder / f"mixed-{len(found)}"
                where.mkdir()
                asked = [kinds[turn % len(kinds)] for turn in range(chats)]
                async with _target(load_seconds) as target:
                    tally = await WAYS[way](target, where, asked)
                    loads = await _loads(target)
                found.append(
                    Mixed(
                        round=number,
                        scenario=scenario,
                        way=way,
                        chats=chats,
                        load_keys=len(set(asked)),
                        load_seconds=load_seconds,
                        loads=loads,
                        failures=tally.failures,
                        cut_off=tally.cut_off,
                        seconds=round(tally.seconds, 3),
                        longest_wait=round(max(tally.waits, default=0.0), 3),
                    )
                )
    return found


async def _straight(target: str, _: Path, asked: Sequence[Kind]) -> Tally:
    return await ask(target, asked, Tally())


async def _queued(target: str, where: Path, asked: Sequence[Kind]) -> Tally:
    async with foreman(target, where) as started:
        return await ask(started.url, asked, Tally())


async def _killed(target: str, where: Path, asked: Sequence[Kind]) -> Tally:
    listen, tally = f"127.0.0.1:{free_port()}", Tally(until=len(asked) // 2)
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(foreman(target, where, listen=listen))
        asking = asyncio.create_task(ask(f"http://{listen}", asked, tally, again=True))
        half = asyncio.create_task(tally.half.wait())
        await asyncio.wait((asking, half), return_when=asyncio.FIRST_COMPLETED)
        half.cancel()
        await started.kill()
        await stack.enter_async_context(foreman(target, where, listen=listen))
        return await asking


WAYS: Final[dict[str, Callable[[str, Path, Sequence[Kind]], Awaitable[Tally]]]] = {
    DIRECT: _straight,
    FOREMAN: _queued,
    RESTARTED: _killed,
}


async def ask(url: str, asked: Sequence[Kind], tally: Tally, *, again: bool = False) -> Tally:
    """All of them, one client each; `again` has a client that was cut off ask once more. Raises AnswerVoid."""
    no_limit, began = aiohttp.ClientTimeout(total=None), monotonic()
    try:
        async with (
            asyncio.timeout(drive.PATIENCE),
            aiohttp.ClientSession(timeout=no_limit, connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as group,
        ):
            for number, kind in enumerate(asked):
                group.create_task(_client(session, f"{url}/api/chat", number, kind, tally, again))
                await asyncio.sleep(APART_SECONDS)
    except TimeoutError as error:
        raise AnswerVoid(f"chats without an answer after {drive.PATIENCE:g} s") from error
    tally.seconds = monotonic() - began
    return tally


async def _client(session: aiohttp.ClientSession, url: str, number: int, kind: Kind, tally: Tally, again: bool) -> None:
    began, cut_off = monotonic(), False
    while True:
        try:
            answered = await _chat(session, url, number, kind)
        except (aiohttp.ClientError, OSError):
            cut_off = True
            if again:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            answered = False
        break
    tally.cut_off += cut_off
    tally.ended(monotonic() - began, answered)


async def _chat(session: aiohttp.ClientSession, url: str, number: int, kind: Kind) -> bool:
    """Whether the answer is whole. Raises ClientError and OSError where it broke off."""
    headers = {"Idempotency-Key": f"chat-{number}"}
    async with session.post(url, json=kind.body(), headers=headers) as answer:
        said = await answer.read()
        return answer.status == 200 and b'"done":true' in said


@asynccontextmanager
async def _target(load_seconds: float) -> AsyncIterator[str]:
    """Room for one model; every load takes as long."""
    models = (f"--model={model}" for model in _MODELS)
    speed = (f"--load-seconds={load_seconds}", f"--tokens={TOKENS}", f"--tokens-per-second={TOKENS_PER_SECOND}")
    arguments = ("foreman.testing", "--listen=127.0.0.1:0", "--max-loaded=1", *speed, *models)
    async with child("the stub", *arguments, ready=STUB_READY) as started:
        yield started.url


async def _loads(target: str) -> int:
    """How many loads the target has begun."""
    async with aiohttp.ClientSession() as session, session.get(f"{target}/_stub/ledger") as answer:
        return len((await answer.json())["loads"])
