"""What loads will take on this machine: forecasts, from what earlier loads took or what the target says of a model.

Keeps each forecast beside what came true, but for commands: nobody sees what these take. The target is asked about a
model once for each digest.
"""

import asyncio
import logging
from typing import Any, Final

import orjson

from foreman.core.errors import StorageFailed, StorageFull, TargetError
from foreman.core.gate import Candidate, Kind, Readings
from foreman.core.headroom import (
    Forecast,
    LoadSeen,
    Shape,
    automatic_context,
    forecast,
    is_cut,
    on_this_memory,
    shape_of,
)
from foreman.core.inventory import Model, Runner
from foreman.core.job import LoadKey
from foreman.core.residency import workers
from foreman.core.slots import label_of, memory_of
from foreman.engine.clock import Clock, millis
from foreman.engine.poller import Poller
from foreman.engine.store import Store
from foreman.engine.target import Target
from foreman.log import log_event

log = logging.getLogger(__name__)

# So many load keys are remembered.
REMEMBERED: Final = 1000
# Longer descriptions are read in a thread of their own.
LONG: Final = 256 * 1024


class Headroom:
    """Knows what loads took, and forecasts the next one."""

    def __init__(self, store: Store, target: Target, poller: Poller, clock: Clock) -> None:
        self._store = store
        self._target = target
        self._poller = poller
        self._clock = clock
        self._shapes: dict[str, Shape] = {}
        self._seen: dict[str, LoadSeen] = {}
        self._card: int | None = None
        self._automatic: int | None = None
        self._expected: dict[str, Forecast] = {}
        self._kept: set[str] = set()

    async def start(self) -> None:
        """Read what loads of earlier processes took."""
        for seen in reversed(await self._store.forecasts(REMEMBERED)):
            self._learn(seen)

    def _learn(self, seen: LoadSeen) -> None:
        self._seen[seen.load_key] = seen
        _bound(self._seen)
        self._card = max(self._card or 0, seen.size_vram)
        self._automatic = seen.automatic or self._automatic

    async def candidate(self, key: LoadKey, readings: Readings) -> Candidate:
        """The load of a model as the gate looks at it."""
        model = self._poller.models.models.get(key.model)
        if model is None:
            return Candidate(Kind.LOAD, key.model)
        seen, unified = self._seen.get(str(key)), readings.unified
        shape = Shape() if seen is not None else await self._shape(model)
        usable = readings.total if unified else self._card
        expected = forecast(key, model.size, shape, seen, self._automatic or automatic_context(usable, unified))
        memory = on_this_memory(expected.size, seen, self._card, unified=unified)
        if memory is not None:
            self._expected[str(key)] = expected
            _bound(self._expected)
        return Candidate(
            Kind.LOAD,
            key.model,
            memory=memory,
            least=on_this_memory(expected.least, seen, self._card, unified=unified),
            gives_back=sum(_held(runner, unified) for runner in workers(self._poller.residency, self._poller.models)),
            basis=expected.text,
        )

    def command(self, key: LoadKey, readings: Readings) -> Candidate:
        """A command that waits for a slot, as the gate looks at it: what is loaded stays beside it."""
        memory = memory_of(key)
        stays = sum(_held(runner, readings.unified) for runner in self._poller.residency.runners)
        return Candidate(Kind.COMMAND, label_of(key.model), memory=memory, least=memory, stays=stays)

    async def _shape(self, model: Model) -> Shape:
        name = model.digest or model.canonical
        if name not in self._shapes:
            try:
                self._shapes[name] = await self._told(model)
            except (TargetError, ValueError) as error:
                log_event(
                    log, logging.WARNING, "show_failed", "a model is not described", model=model.name, error=error
                )
                return Shape()
        return self._shapes[name]

    async def _told(self, model: Model) -> Shape:
        """What the target says of a model; at length where it would leave out what is needed."""
        info = await _model_info(await self._target.show(model.name))
        if is_cut(info):
            info = await _model_info(await self._target.show(model.name, verbose=True))
        return shape_of(info)

    async def observe(self) -> None:
        """After a look at what is loaded: keep what foreman's own loads took, each once."""
        residency, models = self._poller.residency, self._poller.models
        self._kept &= {str(one.key) for one in residency.loaded}
        for one in residency.loaded:
            text, names = str(one.key), models.aliases(one.key.model)
            runner = next((runner for runner in residency.runners if runner.canonical in names), None)
            # Before the first look after it, what is shown may be the load before.
            if runner is None or text in self._kept or one.context_length is None or not runner.size:
                continue
            self._kept.add(text)
            await self._keep(one.key, runner)

    async def _keep(self, key: LoadKey, runner: Runner) -> None:
        expected = self._expected.get(str(key))
        seen = LoadSeen(
            at=millis(self._clock),
            load_key=str(key),
            basis=None if expected is None else expected.basis,
            expected=None if expected is None else expected.size,
            size=runner.size,
            size_vram=runner.size_vram,
            context=runner.context_length,
            automatic=self._shown_automatic(key, runner),
        )
        self._learn(seen)
        log_event(
            log, logging.INFO, "model_size", "what a load took",
            load_key=key, size=seen.size, expected=seen.expected, basis=seen.basis,
        )  # fmt: skip
        try:
            await self._store.keep_forecast(seen)
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "forecast_unsaved", "what a load took could not be written", error=error)

    def _shown_automatic(self, key: LoadKey, runner: Runner) -> int | None:
        """The context given where none is asked for, unless the model itself has no more."""
        model = self._poller.models.models.get(key.model)
        shape = None if model is None else self._shapes.get(model.digest or model.canonical)
        if "num_ctx" in dict(key.options) or shape is None or shape.context is None or runner.context_length is None:
            return None
        return runner.context_length if runner.context_length < shape.context else None

    def forget_kept(self, key: str) -> None:
        """It is about to be loaded: what it takes is to be kept anew."""
        self._kept.discard(key)


def _bound(known: dict[str, Any]) -> None:
    """Clients may think of any number of load keys: the oldest is forgotten."""
    if len(known) > REMEMBERED:
        del known[next(iter(known))]


def _held(runner: Runner, unified: bool) -> int:
    """What a loaded model holds of the machine's own memory."""
    return runner.size if unified else max(0, runner.size - runner.size_vram)


async def _model_info(answer: bytes) -> dict[str, Any]:
    parsed = await asyncio.to_thread(orjson.loads, answer) if len(answer) > LONG else orjson.loads(answer)
    info = parsed.get("model_info") if isinstance(parsed, dict) else None
    return info if isinstance(info, dict) else {}
