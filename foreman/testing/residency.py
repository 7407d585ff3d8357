"""Which models are loaded, and what it costs to change that: the part of Ollama's scheduler a client can feel.

Rules: models load strictly one at a time; a loading model is not listed until it is ready; a runner belongs to the
weights, so copies share it; a differing load-time option reloads; eviction and reload wait for running requests to
end; a keep-alive sticks to its runner until another one is named; unloading is asynchronous.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from foreman.testing.gojson import Fields, Refusal
from foreman.testing.ledger import Ledger
from foreman.testing.models import StubModel

DEFAULT_KEEP_ALIVE: Final = 300.0
FOREVER: Final = 292 * 365.25 * 86400

LOAD_OPTIONS: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")


def load_options(fields: Fields) -> dict[str, int | bool]:
    """The load-time options a request names, in Ollama's order. Raises Refusal(500) on a wrong type."""
    options = fields.get("options")
    given: dict[str, Any] = options if isinstance(options, dict) else {}
    found: dict[str, int | bool] = {}
    for name in LOAD_OPTIONS:
        if (value := given.get(name)) is None:
            continue
        wanted = "boolean" if name == "use_mmap" else "integer"
        if isinstance(value, bool) != (wanted == "boolean") or not isinstance(value, int | float):
            raise Refusal(500, f'option "{name}" must be of type {wanted}')
        found[name] = value if isinstance(value, bool) else int(value)
    return found


@dataclass(slots=True, eq=False)
class Runner:
    """A loaded model. `keep_alive` is seconds after the last request, FOREVER for always."""

    model: StubModel
    options: dict[str, int | bool]
    slots: asyncio.Semaphore
    keep_alive: float = DEFAULT_KEEP_ALIVE
    expires_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    expiry: asyncio.TimerHandle | None = None


class Residency:
    """The loaded runners by weights. `max_loaded` counts worker models; embedding models come on top."""

    def __init__(self, ledger: Ledger, *, load_seconds: float, max_loaded: int, parallel: int) -> None:
        self._ledger = ledger
        self._load_seconds = load_seconds
        self._max_loaded = max_loaded
        self._parallel = parallel
        self._runners: dict[str, Runner] = {}
        self._loading = asyncio.Lock()
        self._may_load = asyncio.Event()
        self._may_load.set()

    def hold_loads(self) -> None:
        """Loads from now on take until `release_loads`."""
        self._may_load.clear()

    def release_loads(self) -> None:
        self._may_load.set()

    def longest_first(self) -> list[Runner]:
        """The ready runners, the one that stays longest first."""
        return sorted(self._runners.values(), key=lambda runner: runner.expires_at, reverse=True)

    @asynccontextmanager
    async def using(
        self, model: StubModel, options: dict[str, int | bool], keep_alive: float | None
    ) -> AsyncIterator[Runner]:
        """The model loaded with these options and one of its slots, for as long as the request runs."""
        runner = await self._ready(model, options)
        if keep_alive is not None:
            runner.keep_alive = keep_alive
        _touch(runner)
        try:
            async with runner.slots:
                yield runner
        finally:
            self._released(runner)

    def unload(self, model: StubModel) -> None:
        """Asks for the model to go as soon as it is idle; nothing happens when it is not loaded."""
        if runner := self._runners.get(model.blob):
            runner.keep_alive, runner.expires_at = 0.0, datetime.now(UTC)
            if runner.users == 0:
                self._expire_in(runner, 0.0)

    def clear(self) -> None:
        """Nothing is loaded any more, and no timer runs, as after a restart."""
        for runner in self._runners.values():
            if runner.expiry is not None:
                runner.expiry.cancel()
        self._runners.clear()

    async def _ready(self, model: StubModel, options: dict[str, int | bool]) -> Runner:
        """A runner with one more user. Requests that fit what is loaded do not queue for the loader."""
        if runner := self._fitting(model, options):
            return self._taken(runner)
        async with self._loading:
            if runner := self._fitting(model, options):
                return self._taken(runner)
            await self._make_room(model)
            return self._taken(await self._load(model, options))

    def _fitting(self, model: StubModel, options: dict[str, int | bool]) -> Runner | None:
        runner = self._runners.get(model.blob)
        return runner if runner is not None and runner.options == options else None

    def _taken(self, runner: Runner) -> Runner:
        runner.users += 1
        runner.idle.clear()
        if runner.expiry is not None:
            runner.expiry.cancel()
            runner.expiry = None
        return runner

    def _released(self, runner: Runner) -> None:
        runner.users -= 1
        if runner.users == 0:
            runner.idle.set()
            _touch(runner)
            self._expire_in(runner, runner.keep_alive)

    async def _make_room(self, model: StubModel) -> None:
        while (victim := self._victim(model)) is not None:
            await victim.idle.wait()
            if victim.users == 0:
                self._unload(victim)

    def _victim(self, model: StubModel) -> Runner | None:
        """What must go before the model loads: its runner with other options, else a worker over the limit."""
        if (own := self._runners.get(model.blob)) is not None:
            return own
        workers = [runner for runner in self._runners.values() if not runner.model.embedding_only]
        if model.embedding_only or len(workers) < self._max_loaded:
            return None
        return min(workers, key=lambda runner: (runner.users > 0, runner.keep_alive))

    async def _load(self, model: StubModel, options: dict[str, int | bool]) -> Runner:
        """Takes its time; a client that leaves meanwhile aborts the load and nothing stays resident."""
        self._ledger.loaded(model.name, options)
        seconds = self._load_seconds if model.load_seconds is None else model.load_seconds
        if seconds > 0:
            await asyncio.sleep(seconds)
        await self._may_load.wait()
        slots = asyncio.Semaphore(1 if model.embedding_only else self._parallel)
        runner = self._runners[model.blob] = Runner(model, options, slots)
        return runner

    def _expire_in(self, runner: Runner, seconds: float) -> None:
        if runner.expiry is not None:
            runner.expiry.cancel()
        if seconds < FOREVER:
            runner.expiry = asyncio.get_running_loop().call_later(seconds, self._unload, runner)

    def _unload(self, runner: Runner) -> None:
        if self._runners.get(runner.model.blob) is runner:
            del self._runners[runner.model.blob]
            self._ledger.unloaded(runner.model.name)
        if runner.expiry is not None:
            runner.expiry.cancel()


def _touch(runner: Runner) -> None:
    runner.expires_at = datetime.now(UTC) + timedelta(seconds=runner.keep_alive)
