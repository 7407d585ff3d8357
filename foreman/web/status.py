"""What foreman says of itself: that it runs, and how it is."""

from collections import Counter
from collections.abc import Mapping

import orjson
from aiohttp import web

import foreman
from foreman.core.inventory import Runner
from foreman.engine.engine import Engine
from foreman.engine.live import Live
from foreman.engine.upstream import Upstream
from foreman.web.app_keys import ENGINE
from foreman.web.lanes import lanes_view


async def root(_: web.Request) -> web.Response:
    """What clients ask to see whether there is an Ollama."""
    return web.Response(text="Ollama is running")


async def health(request: web.Request) -> web.Response:
    """200 while jobs are accepted, 503 when not."""
    engine = request.app[ENGINE]
    status = status_word(engine)
    body = orjson.dumps(await report(engine, status), option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(
        status=503 if status in ("draining", "storage") else 200, body=body, content_type="application/json"
    )


def status_word(engine: Engine) -> str:
    """`storage` and `draining`: nothing is accepted. `degraded`: accepted, but the target does not answer."""
    if engine.storage_trouble:
        return "storage"
    if engine.draining:
        return "draining"
    # Not asked yet, right after the start, is no news.
    return "degraded" if engine.poller.reachable is False else "ok"


async def report(engine: Engine, status: str) -> dict[str, object]:
    poller, jobs, now = engine.poller, engine.jobs, engine.clock.time()
    usage = await engine.store.usage()
    oldest = await engine.store.oldest_queued()
    running = [_running(live, now) for live in jobs.running]
    return {
        "status": status,
        "version": foreman.__version__,
        "uptime_seconds": round(now - engine.started_at, 1),
        "target": {
            "url": engine.target.origin,
            "reachable": poller.reachable,
            "error": poller.last_error,
            "last_poll": poller.polled_at,
            "last_success": poller.succeeded_at,
            "models": len(poller.models.models),
            "resident": [runner_view(runner) for runner in poller.residency.runners],
        },
        "queue": {
            "paused": engine.paused,
            "depth": jobs.waiting,
            "by_model": _together(jobs.local.depth.by_model(), jobs.remote.depth.by_model()),
            "oldest_wait_seconds": None if oldest is None else round(max(0.0, now - oldest / 1000), 1),
        },
        "running": next(iter(running), None),
        "lanes": lanes_view(engine, await engine.forecast.order(), lambda live: _running(live, now)),
        "remotes": [_remote(upstream) for upstream in engine.upstreams],
        "storage": {
            "error": engine.storage_trouble or None,
            "sqlite": usage.sqlite_version,
            "db_bytes": usage.db_bytes,
            "wal_bytes": usage.wal_bytes,
        },
        "relay_bytes": jobs.held_bytes,
    }


def _remote(upstream: Upstream) -> dict[str, object]:
    return {
        "name": upstream.name,
        "url": upstream.remote.base_url,
        "slots": upstream.throttle.slots,
        "limit": upstream.throttle.limit,
        "running": upstream.running,
        "models": list(upstream.remote.models),
        "paused_seconds": round(upstream.pause, 1),
    }


def _running(live: Live, now: float) -> dict[str, object]:
    return {
        "id": live.id,
        "model": live.model,
        "load_key": str(live.key),
        "state": live.state,
        "client": live.client,
        "age_seconds": round(max(0.0, now - live.created_at / 1000), 1),
    }


def _together(*counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter[str]()).most_common())


def runner_view(runner: Runner) -> dict[str, object]:
    return {
        "model": runner.name,
        "size": runner.size,
        "size_vram": runner.size_vram,
        "context_length": runner.context_length,
        "unloads_at": runner.expires_at,
    }
