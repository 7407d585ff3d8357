"""Whose a job is: what a caller sees of it, and that it is not there for anybody else."""

import re
from typing import Final

from aiohttp import web

from foreman.core.access import Caller, Scope
from foreman.core.errors import JobNotFound, ScopeMissing
from foreman.engine.engine import Engine
from foreman.web.app_keys import ENGINE
from foreman.web.guard import CALLER

_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
# What is told of others' jobs to who may read the queue: nothing that leads to them, and nothing that was said in them.
TOLD: Final = frozenset(
    {
        *("state", "lane", "model", "load_key", "label", "memory", "mode", "client"),
        *("position", "reason", "hold", "expected_start"),
        *("not_before", "created_at", "claimed_at", "first_byte_at", "age_seconds"),
    }
)


async def own_job(request: web.Request) -> str:
    """The id in the path, of a job that the caller may see. Raises JobNotFound, for others' as for none."""
    text, caller, engine = request.match_info["id"].upper(), request[CALLER], request.app[ENGINE]
    if _ID.fullmatch(text) is None:
        raise JobNotFound(f"there is no job {request.match_info['id'][:64]}")
    if not caller.sees_all:
        live = engine.jobs.get(text)
        key_id = (await engine.job(text)).key_id if live is None else live.key_id
        if not caller.sees(key_id):
            raise JobNotFound(f"there is no job {text}")
    return text


def check_may_manage(caller: Caller) -> None:
    """Pulls and creates are jobs, and change what models there are. Raises ScopeMissing."""
    if not caller.may(frozenset({Scope.MANAGE})):
        raise ScopeMissing(f"this needs the scope {Scope.MANAGE}")


def told(view: dict[str, object], key_id: str, caller: Caller) -> dict[str, object] | None:
    """A view of a job of this key as the caller may see it; None where he sees nothing of it."""
    if caller.sees(key_id):
        return view
    return {name: view[name] for name in view if name in TOLD} if Scope.READ in caller.scopes else None


def counts(engine: Engine) -> dict[str, object]:
    """How much there is, whosever it is."""
    return {"depth": engine.jobs.waiting, "running": len(engine.jobs.running)}
