"""foreman's answers as the commands that look at it get them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from foreman.cli.statustext import Seen

NOW = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
BEFORE = "2026-01-31T12:00:00.000Z"
LATER = "2026-01-31T13:00:30.000Z"
CLIENT = "a-client/1.0 127.0.0.1"


def job(name: str, state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": f"01M7YSZZAGB5D9CV42KGVE{name:0>4}", "state": state, "lane": "local", "model": "llama3:latest",
        "label": None, "client": CLIENT, "created_at": BEFORE, "position": 1, "reason": "swap", "hold": None,
        "expected_start": None, "why": None, "slowdown": None, "not_before": None, "stats": None, **more,
    }  # fmt: skip


def lane(running: Sequence[Any] = (), queued: int = 0, waits_for: str | None = None, slots: int = 1) -> dict[str, Any]:
    return {"slots": slots, "running": list(running), "queued": queued, "waits_for": waits_for}


def seen(
    running: Sequence[Any] = (),
    waiting: Sequence[Any] = (),
    delayed: Sequence[Any] = (),
    recent: Sequence[Any] = (),
    *,
    machine: dict[str, Any] | None = None,
    health: dict[str, Any] | None = None,
    lanes: dict[str, Any] | None = None,
    paused: bool = False,
    depth: int | None = None,
) -> Seen:
    depth = len(waiting) + len(delayed) if depth is None else depth
    lanes = lanes or {"local": lane(running, depth, "slot" if running else None), "remote": lane(slots=5)}
    target = {
        "url": "http://127.0.0.1:11434", "reachable": True, "error": None, "models": 3,
        "last_poll": NOW.timestamp() - 3, "resident": [],
    }  # fmt: skip
    told = {
        "status": "ok", "version": "1.2.3", "uptime_seconds": 61.0, "target": target, "queue": {"paused": paused},
        "storage": {"error": None}, "remotes": [], **(health or {}),
    }  # fmt: skip
    queue = {"paused": paused, "depth": depth, "lanes": lanes, "waiting": list(waiting), "delayed": list(delayed)}
    return Seen(told, queue, machine, list(recent), NOW)


def machine(**readings: Any) -> dict[str, Any]:
    return {
        "readings": {"load_per_core": 0.5, "memory_available": 24 * 10**9, "disk_free": 78 * 10**9, **readings},
        "thresholds": {"max_load_per_core": 0.33, "memory_reserve": 4 * 10**9, "disk_reserve": 30 * 10**9},
        "gate": {"on": True},
        "next": None,
    }
