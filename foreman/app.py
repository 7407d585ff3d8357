"""The composition root: the only place that calls constructors, and the life of the process from open to close."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from foreman.core.addresses import Address
from foreman.core.gate import Thresholds
from foreman.core.lanes import Slots
from foreman.core.residency import Swap
from foreman.core.retry import RetryPolicy
from foreman.core.room import Room
from foreman.engine import collector
from foreman.engine.clock import Clock, SystemClock, millis
from foreman.engine.disk import models_folder, room_in
from foreman.engine.engine import Engine
from foreman.engine.gate import Gate
from foreman.engine.headroom import Headroom
from foreman.engine.ids import new_id
from foreman.engine.live import LiveJobs
from foreman.engine.machine import Machine, Reader, SystemReader
from foreman.engine.patience import Limits
from foreman.engine.poller import Poller
from foreman.engine.relay import Budget
from foreman.engine.rules import Rules
from foreman.engine.sqlite import SqliteStore
from foreman.engine.supervisor import Supervisor
from foreman.engine.target import Target
from foreman.engine.upstream import Upstream
from foreman.engine.upstreams import Upstreams
from foreman.keyfile import read_api_key
from foreman.log import log_event
from foreman.settings import Settings
from foreman.web.guard import Guard
from foreman.web.server import application, listening

log = logging.getLogger(__name__)


@asynccontextmanager
async def engine_of(
    settings: Settings, clock: Clock, reader: Reader | None = None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Engine]:
    """The engine with its store open, its target and remotes at hand; not yet running. Raises StartupError.

    `reader` reads the machine; `environ` may hold the keys of remotes.
    """
    swap = Swap(settings.swap)
    limits = Limits(
        first_byte=settings.first_byte_timeout_seconds,
        idle=settings.idle_timeout_seconds,
        probe=settings.probe_seconds,
        keep_alive=settings.keep_alive,
        swap=swap,
        retry=RetryPolicy(settings.retry_base_seconds, settings.retry_cap_seconds),
        room=room_of(settings, os.environ),
    )
    rules = Rules(
        max_queued=settings.max_queued,
        max_attempts=settings.max_attempts,
        on_client_gone=settings.on_client_gone,
        swap=swap,
        drop_attached=settings.on_restart == "drop-attached",
        drain_seconds=settings.drain_seconds,
        retention_seconds=settings.retention_hours * 3600,
        retention_bytes=settings.retention_bytes,
    )
    slots = settings.remote_slots
    apis = Upstreams([Upstream(remote, remote.key(environ), slots, clock) for remote in settings.remotes])
    async with SqliteStore.open(settings.db, new_id(millis(clock))) as store, target_of(settings) as target, apis:
        poller = Poller(target, clock, every=settings.poll_seconds, probe_cap=settings.probe_seconds, swap=swap)
        jobs = LiveJobs(Budget(settings.relay_buffer_bytes), Slots(slots, settings.exclusive))
        machine = Machine(reader or SystemReader(settings.db.parent, settings.foreign_processes), clock)
        headroom = Headroom(store, target, poller, clock)
        thresholds = Thresholds(settings.max_load_per_core, settings.disk_reserve, settings.memory_reserve)
        gate = Gate(machine, headroom, store, poller, jobs, clock, thresholds, swap, on=gate_is_on(settings))
        yield Engine(store, target, poller, gate, jobs, clock, limits, rules, apis)


def target_is_here(settings: Settings) -> bool:
    """Whether the target is on this machine."""
    url = urlsplit(settings.target)
    return Address(url.hostname or "", url.port or 0).loopback


def room_of(settings: Settings, environ: Mapping[str, str]) -> Room | None:
    """The disk of the models, where the target is on this machine."""
    return room_in(models_folder(environ), settings.disk_reserve) if target_is_here(settings) else None


def gate_is_on(settings: Settings) -> bool:
    """Whether loads are held where the machine has no room: by itself only on the machine of the target."""
    return target_is_here(settings) if settings.gate == "auto" else settings.gate == "on"


def target_of(settings: Settings) -> Target:
    return Target(
        settings.target,
        connect_timeout=settings.connect_timeout_seconds,
        probe_timeout=settings.probe_seconds,
        kept=settings.target_connection == "kept",
    )


async def target_answers(settings: Settings) -> bool:
    """Whether an Ollama answers now."""
    async with target_of(settings) as target:
        return await target.alive()


async def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the drain. `ready` gets the URL.

    Raises StartupError where it cannot start. Any other exception means that a part of the engine died.
    """
    key = None if settings.api_key_file is None else read_api_key(settings.api_key_file)
    clock = SystemClock()
    supervisor = Supervisor(os.environ, clock)
    async with engine_of(settings, clock) as engine:
        await engine.start()
        guard = Guard(settings.allowed_hosts, settings.allowed_origins, key)
        app, quick = application(settings, engine, guard), settings.http_server == "quick"
        async with listening(app, settings.listen, quick=quick) as url:
            collector.settle()
            await _until_signalled(engine, supervisor, lambda: ready(url))
        await engine.settled()


async def _until_signalled(engine: Engine, supervisor: Supervisor, ready: Callable[[], None]) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    running = asyncio.create_task(engine.run(), name="engine")
    tidying = asyncio.create_task(collector.tidy(engine.jobs, engine.clock), name="collector")
    measuring = asyncio.create_task(engine.lag.run(), name="lag")
    feeding = asyncio.create_task(supervisor.feed(), name="watchdog")
    asked = asyncio.create_task(stop.wait())
    ready()
    supervisor.ready()
    await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        supervisor.stopping()
        log_event(log, logging.INFO, "draining", "stopping: the running job may end, the queue is kept")
        await engine.drain(hurry)
        # A worker that still has not ended waits for a store or a target that does not answer; recovery takes over.
        running.cancel()
        await asyncio.wait((running,))
    for task in (asked, tidying, measuring, feeding):
        task.cancel()
    if not running.cancelled():
        running.result()
