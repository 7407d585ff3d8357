"""The machine as the gate sees it: readings, thresholds, what is loaded, what is held, and what comes next needs."""

from aiohttp import web

from foreman.core.gate import (
    CAUTIOUS,
    Admit,
    Candidate,
    Hold,
    Kind,
    Readings,
    Refuse,
    Thresholds,
    Verdict,
    free_after,
    missing,
)
from foreman.core.headroom import LoadSeen
from foreman.core.job import Job
from foreman.core.lanes import Lane
from foreman.core.slots import is_slot, label_of
from foreman.core.units import gigabytes
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.jobs import answer_json
from foreman.web.jobview import hold_view, job_view, moment
from foreman.web.lanes import lanes_view
from foreman.web.status import runner_view

# So many past loads are told.
TOLD = 200


async def machine(request: web.Request) -> web.Response:
    engine, settings = request.app[ENGINE], request.app[SETTINGS]
    readings = await engine.gate.machine.readings()
    if engine.poller.reachable is not False:
        await engine.poller.look()
    lanes = await _lanes(engine, readings)
    view = {
        "gate": {"setting": settings.gate, "on": engine.gate.on},
        "readings": readings_view(readings),
        "thresholds": thresholds_view(engine.gate.thresholds, settings.foreign_processes),
        "resident": [runner_view(runner) for runner in engine.poller.residency.runners],
        "unknown": list(dict.fromkeys((*missing(readings), *engine.gate.unknown))),
        "held": [{"load_key": key, **hold_view(hold)} for key, hold in engine.gate.holds()],
        "lanes": lanes,
        "next": lanes["local"]["next"] or lanes["remote"]["next"],
    }
    return answer_json(view)


async def forecasts(request: web.Request) -> web.Response:
    """What was expected of past loads, and what they took."""
    loads = await request.app[ENGINE].store.forecasts(TOLD)
    return answer_json({"forecasts": [_forecast_view(seen) for seen in loads]})


def readings_view(readings: Readings) -> dict[str, object]:
    load = readings.load_per_core
    return {
        "at": moment(int(readings.at * 1000)),
        "cores": readings.cores,
        "load": readings.load,
        "own_load": round(readings.own_load, 2),
        "load_per_core": None if load is None else round(load, 3),
        "memory_available": readings.available,
        "memory_total": readings.total,
        "unified_memory": readings.unified,
        "disk_free": readings.disk_free,
        "disk_total": readings.disk_total,
        "foreign": None if readings.foreign is None else list(readings.foreign),
    }


def thresholds_view(thresholds: Thresholds, programs: tuple[str, ...]) -> dict[str, object]:
    return {
        "max_load_per_core": thresholds.max_load_per_core,
        "disk_reserve": thresholds.disk_reserve,
        "memory_reserve": thresholds.memory_reserve,
        "foreign_processes": list(programs),
    }


async def _lanes(engine: Engine, readings: Readings) -> dict[str, dict[str, object]]:
    """What runs in each lane, how much waits, and the forecast for the first of it."""
    order = await engine.forecast.order()
    heads = {lane: next((outlook.seq for outlook in order if outlook.lane is lane), None) for lane in Lane}
    running = engine.jobs.running
    stored = await engine.store.by_seq([*(seq for seq in heads.values() if seq), *(live.seq for live in running)])
    views = {live.seq: job_view(stored[live.seq], engine) for live in running if live.seq in stored}
    shown = lanes_view(engine, order, lambda live: views.get(live.seq))
    for lane, seq in heads.items():
        job = stored.get(seq or 0)
        shown[lane.value]["next"] = None if job is None else await _next(engine, job, readings)
    return shown


async def _next(engine: Engine, job: Job, readings: Readings) -> dict[str, object]:
    """What the start of a job needs, and what the machine says to it now."""
    key, name = str(job.load_key), label_of(job.model) if is_slot(job.model) else job.model
    found: dict[str, object] = {"job": job.id, "load_key": key, "needed": None, "there": None, "basis": None}
    if job.lane is not Lane.LOCAL or not engine.gate.is_heavy(key):
        return {**found, "verdict": "admit", "text": f"next: {name} needs no load: may start"}
    if job.override is not None:
        return {**found, "verdict": "admit", "text": f"next: {name} overrides the gate: may start"}
    candidate, verdict = await engine.gate.look(key, readings)
    there = _there(candidate, readings, engine.gate.thresholds)
    return {
        **found,
        "needed": candidate.memory,
        "there": there,
        "basis": candidate.basis or None,
        "verdict": "admit" if isinstance(verdict, Admit) else "hold" if isinstance(verdict, Hold) else "refuse",
        "text": sentence(candidate, verdict, there),
    }


def _there(candidate: Candidate, readings: Readings, thresholds: Thresholds) -> int | None:
    free = free_after(candidate, readings)
    return None if free is None else max(0, free - thresholds.memory_reserve)


def sentence(candidate: Candidate, verdict: Verdict, there: int | None) -> str:
    """The forecast for people: `next: llama3:70b needs 43 GB, 38 GB would be free: holds`."""
    if isinstance(verdict, Refuse):
        return f"next: {verdict.text}: refused"
    if isinstance(verdict, Hold):
        return f"next: {verdict.text}: holds"
    if candidate.kind in CAUTIOUS or (candidate.kind is Kind.COMMAND and candidate.memory is None):
        return f"next: {candidate.name}: may start"
    needs = "nobody knows what it needs" if candidate.memory is None else f"needs {gigabytes(candidate.memory)}"
    free = "the free memory is not known" if there is None else f"{gigabytes(there)} would be free"
    return f"next: {candidate.name} {needs}, {free}: may start"


def _forecast_view(seen: LoadSeen) -> dict[str, object]:
    return {
        "at": moment(seen.at),
        "load_key": seen.load_key,
        "basis": seen.basis,
        "expected": seen.expected,
        "size": seen.size,
        "size_vram": seen.size_vram,
        "context_length": seen.context,
    }
