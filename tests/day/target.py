"""An Ollama and a remote API that answer in the time of the loop, without a socket."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import orjson

from foreman.core.errors import TargetSilent
from foreman.core.job import Payload
from foreman.core.lanes import Lane
from foreman.core.upkeep import PULL
from foreman.engine.relay import Head
from foreman.engine.target import Target
from foreman.engine.upstream import Upstream, UpstreamExchange
from tests.day.border import Border
from tests.day.loop import here
from tests.day.plan import LOADS, Arrival

Parts = list[tuple[float, bytes]]

NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
JSON: Final = "application/json"
FOR_EVER: Final = "2318-01-01T00:00:00Z"
# What a model needs to be gone after it was unloaded, in seconds.
UNLOADS: Final = 0.3


def unread(*_: object) -> None:
    """Nobody is told."""


class TimedExchange:
    """An answer whose parts come one after the other, each so many seconds after the one before."""

    sent = True

    def __init__(self, border: Border, lane: Lane, kind: str, parts: Parts, done: Callable[[], None] = unread) -> None:
        self._border, self._lane, self._done = border, lane, done
        self._head = Head(200, (("content-type", kind),))
        self._parts = parts[::-1]
        self._since = here().time()
        self._over = self.ended = False
        border.begin(lane)

    async def _arrives(self, patience: float | None) -> bool:
        wait = self._since + self._parts[-1][0] - here().time()
        await asyncio.sleep(max(0.0, wait if patience is None else min(wait, patience)))
        return patience is None or wait <= patience

    async def head(self, patience: float | None = None) -> Head | None:
        return self._head if await self._arrives(patience) else None

    async def read(self, patience: float | None = None) -> bytes:
        if not self._parts:
            return b""
        if not await self._arrives(patience):
            raise TargetSilent("nothing came")
        seconds, part = self._parts.pop()
        self._since += seconds
        if not self._parts:
            self._end()
            self._done()
        return part

    async def pump(self, take: Callable[[bytes], None], patience: float) -> None:
        while part := await self.read(patience):
            take(part)

    async def abort(self, grace: float) -> bool:  # noqa: ARG002
        self.close()
        return True

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        self.ended = True
        if not self._over:
            self._over = True
            self._border.end(self._lane)


class TimedTarget(Target):
    """An Ollama with one model in memory, at most."""

    def __init__(self, border: Border, arrivals: tuple[Arrival, ...]) -> None:
        super().__init__("http://target.invalid", connect_timeout=1, probe_timeout=5)
        self._border = border
        self._arrivals = arrivals
        self._there: dict[str, float] = {}  # until when

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def exchange(self, payload: Payload) -> TimedExchange:
        asked = orjson.loads(payload.body)
        if payload.path == PULL:
            return self._pull(self._arrivals[int(asked["model"].partition("-")[2])].takes)
        if "messages" not in asked:
            return self._load(asked["model"])
        assert asked["model"] in self._loaded(), "a question to a model that is not loaded"
        takes = self._arrivals[number_of(asked)].takes
        parts = [(takes / 4, b'{"message":{"content":"so"},"done":false}\n'), (takes * 3 / 4, b'{"done":true}\n')]
        return TimedExchange(self._border, Lane.LOCAL, NDJSON, parts)

    def _load(self, model: str) -> TimedExchange:
        assert not self._loaded(), "a load beside a loaded model"
        self._border.loads[model] += 1
        parts = [(LOADS[model], b'{"done":true,"done_reason":"load"}')]
        return TimedExchange(self._border, Lane.LOCAL, JSON, parts, lambda: self._there.update({model: float("inf")}))

    def _pull(self, takes: float) -> TimedExchange:
        line = b'{"status":"pulling","digest":"sha256:%d","total":100,"completed":%d}\n'
        parts = [(takes / 20, line % (1, 5 * n)) for n in range(1, 20)]
        return TimedExchange(self._border, Lane.LOCAL, NDJSON, [*parts, (takes / 20, b'{"status":"success"}\n')])

    def _loaded(self) -> list[str]:
        return [model for model, until in self._there.items() if until > here().time()]

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float) -> bytes:  # noqa: ARG002
        if path == "/api/version":
            return b'{"version":"0.12.6"}'
        if path == "/api/generate" and body is not None and body["keep_alive"] == 0:
            self._there[body["model"]] = here().time() + UNLOADS
            return b"{}"
        models = LOADS if path == "/api/tags" else self._loaded()
        assert path in ("/api/tags", "/api/ps"), path
        shown = [{"name": model, "model": model, "digest": model, "expires_at": FOR_EVER} for model in models]
        return orjson.dumps({"models": shown})


def number_of(asked: dict[str, Any]) -> int:
    """Which arrival a question belongs to."""
    return int(asked["messages"][0]["content"])


def remote_api(border: Border, arrivals: tuple[Arrival, ...]) -> type[Upstream]:
    """What the engine is to make its remotes of."""

    class TimedUpstream(Upstream):
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *exc: object) -> None:
            pass

        def exchange(self, payload: Payload) -> UpstreamExchange:
            takes = arrivals[number_of(orjson.loads(payload.body))].takes
            parts = [(takes / 2, b'data: {"choices":[]}\n\n'), (takes / 2, b"data: [DONE]\n\n")]
            return TimedExchange(border, Lane.REMOTE, SSE, parts)  # type: ignore[return-value]

    return TimedUpstream
