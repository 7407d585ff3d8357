"""The metrics of what is now: gauges, read from the engine at the scrape."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric

import foreman
from foreman.core.lanes import Lane
from foreman.engine.engine import Engine
from foreman.engine.store import StoreUsage
from foreman.web.families import Labels, gauge, one

MODEL: Labels = ("lane", "model")


def standing(engine: Engine, usage: StoreUsage | None, oldest: Mapping[tuple[Lane, str], int]) -> Iterator[Metric]:
    """`oldest`: when the job that waits longest was created, by lane and model, in unix milliseconds."""
    yield gauge("foreman_build_info", "The version that runs.", ("version",), [((foreman.__version__,), 1)])
    yield one("foreman_start_time_seconds", "When this process began, in unix seconds.", engine.started_at)
    yield from _queue(engine, oldest)
    yield from _target(engine)
    yield from _remotes(engine)
    yield one(
        "foreman_store_up", "Whether the store takes writes.", float(usage is not None and not engine.storage_trouble)
    )
    yield one("foreman_store_bytes", "The size of the database.", None if usage is None else usage.db_bytes)
    yield one(
        "foreman_store_wal_bytes",
        "The size of the write-ahead log of the database.",
        None if usage is None else usage.wal_bytes,
    )
    yield one("foreman_relay_bytes", "What answers on their way to clients hold in memory.", engine.jobs.held_bytes)


def _queue(engine: Engine, oldest: Mapping[tuple[Lane, str], int]) -> Iterator[Metric]:
    jobs, now = engine.jobs, engine.clock.time()
    depths, waits = dict[Labels, float](), dict[Labels, float]()
    for lane in Lane:
        for model, count in jobs.lanes.of(lane).depth.by_model().items():
            labels = lane.value, jobs.figures.name(lane, model)
            depths[labels] = depths.get(labels, 0) + count
    for (lane, model), created in oldest.items():
        labels = lane.value, jobs.figures.name(lane, model)
        waits[labels] = max(waits.get(labels, 0.0), now - created / 1000)
    yield gauge("foreman_queue_jobs", "Jobs that wait.", MODEL, depths.items())
    yield gauge(
        "foreman_queue_oldest_wait_seconds", "How long the oldest of the waiting jobs has waited.", MODEL, waits.items()
    )
    yield one("foreman_queue_paused", "Whether no further job is begun.", float(engine.paused))
    running = [((lane.value,), len(jobs.in_lane(lane))) for lane in Lane]
    yield gauge("foreman_jobs_running", "Jobs that run.", ("lane",), running)
    slots = [((lane.value,), jobs.lanes.slots.of(lane)) for lane in Lane]
    yield gauge("foreman_lane_slots", "How many jobs a lane may run at once.", ("lane",), slots)
    causes: dict[Labels, float] = {}
    for _, hold in engine.gate.holds():
        causes[(hold.cause.value,)] = causes.get((hold.cause.value,), 0) + 1
    yield gauge("foreman_gate_held", "Load keys that the gate holds.", ("cause",), causes.items())


def _target(engine: Engine) -> Iterator[Metric]:
    poller = engine.poller
    up = None if poller.reachable is None else float(poller.reachable)
    yield one("foreman_target_up", "Whether the target answered when it was last asked.", up)
    yield one(
        "foreman_target_last_seen_timestamp_seconds",
        "When the target last answered, in unix seconds.",
        poller.succeeded_at,
    )
    resident: dict[Labels, float] = {}
    for runner in poller.residency.runners:
        name = (engine.jobs.figures.name(Lane.LOCAL, runner.canonical),)
        resident[name] = resident.get(name, 0) + runner.size
    yield gauge("foreman_model_resident_bytes", "What loaded models take at the target.", ("model",), resident.items())


def _remotes(engine: Engine) -> Iterator[Metric]:
    apis, labels = list(engine.upstreams), ("remote",)
    running = [((api.name,), api.running) for api in apis]
    yield gauge("foreman_remote_slots_in_use", "Requests that a remote has now.", labels, running)
    slots = [((api.name,), api.throttle.slots) for api in apis]
    yield gauge("foreman_remote_slots", "Requests that a remote may have at once.", labels, slots)
    limits = [((api.name,), api.throttle.limit) for api in apis]
    yield gauge("foreman_remote_limit", "Requests that a remote gets at once now.", labels, limits)
    paused = [((api.name,), float(api.pause > 0)) for api in apis]
    yield gauge("foreman_remote_paused", "Whether a remote is left alone for a while.", labels, paused)
