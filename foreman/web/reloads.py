"""The ledger of reloads over HTTP: what each load cost and who caused it, and how many were avoided."""

from aiohttp import web

from foreman.core.reload import Reload
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE
from foreman.web.jobs import answer_json
from foreman.web.jobview import moment


async def reloads(request: web.Request) -> web.Response:
    return answer_json(reloads_view(request.app[ENGINE]))


def reloads_view(engine: Engine) -> dict[str, object]:
    """Counts since the start, and the newest loads, the newest first. Minutes are estimates; see engine/reloads.py."""
    ledger = engine.reloads
    avoided = ledger.avoided
    minutes = None if avoided is None or avoided.seconds is None else round(avoided.seconds / 60, 2)
    return {
        "since": moment(int(engine.started_at * 1000)),
        "paid": {"count": ledger.paid.total(), "minutes": round(ledger.seconds / 60, 2), "failed": ledger.failed},
        "avoided": None if avoided is None else {"count": avoided.count, "minutes": minutes},
        "reloads": [reload_view(reload) for reload in reversed(ledger.kept)],
    }


def reload_view(reload: Reload) -> dict[str, object]:
    return {
        "at": moment(reload.at),
        "model": reload.key.model,
        "load_key": str(reload.key),
        "reason": reload.cause.reason,
        "evicted": list(reload.cause.evicted),
        "options": {name: {"was": was, "wanted": now} for name, (was, now) in reload.cause.options.items()},
        "client": reload.client,
        "job": reload.job,
        "seconds": round(reload.seconds, 3),
        "loaded": reload.loaded,
    }
