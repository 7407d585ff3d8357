"""Answers that come from the poller's last look, also while the target sleeps."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import orjson
from aiohttp import web

from foreman.core import names, ollama
from foreman.core.errors import ModelNotFound, TargetUnreachable
from foreman.core.headers import Headers
from foreman.core.inventory import entry_v1
from foreman.core.upstreams import Claiming, listed, named
from foreman.engine.poller import Poller
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.passthrough import forward

JSON = "application/json"
_END: Final = b"]}\n"  # of a list of models


async def tags(request: web.Request) -> web.Response:
    return await _known(request, lambda poller: poller.inventory.tags if poller.inventory else None, charset="utf-8")


async def ps(request: web.Request) -> web.Response:
    return await _known(request, lambda poller: poller.ps, charset="utf-8")


async def version(request: web.Request) -> web.Response:
    return await _known(request, lambda poller: poller.version, charset="utf-8")


async def v1_models(request: web.Request) -> web.Response:
    """The target's models, and after them those that remotes list."""
    remotes = request.app[SETTINGS].remotes
    return await _known(
        request, lambda poller: with_remotes(poller.inventory.listing, remotes) if poller.inventory else None
    )


async def v1_model(request: web.Request) -> web.StreamResponse:
    """One model; the `id` is the name as it was asked for. Raises ModelNotFound, InvalidModelName."""
    poller, requested = request.app[ENGINE].poller, request.match_info["model"]
    routed = named(request.app[SETTINGS].remotes, requested)
    if routed is not None:
        return _answer(poller, orjson.dumps(_of_remote(requested, routed.name), option=orjson.OPT_APPEND_NEWLINE))
    name = names.parse(requested)
    # Cloud models stand in no list, and a target that does not answer may have others than it had.
    known = name.is_cloud or await poller.knows(name)
    found = poller.models.find(name)
    if found is None:
        if known:
            return await forward(request)
        raise ModelNotFound(ollama.missing_model(request.path, requested))
    return _answer(poller, orjson.dumps(entry_v1(found, requested), option=orjson.OPT_APPEND_NEWLINE))


def with_remotes(listing: bytes, remotes: Sequence[Claiming]) -> bytes:
    """A list of models with those that remotes list behind its own."""
    more = [orjson.dumps(_of_remote(model, remote.name)) for remote in remotes for model in listed(remote)]
    if not more:
        return listing
    known, end = listing[: -len(_END)], listing[-len(_END) :]
    return known + (b"" if known.endswith(b"[") else b",") + b",".join(more) + end


def _of_remote(model: str, name: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": 0, "owned_by": name}


def head_and_body(poller: Poller, path: str, remotes: Sequence[Claiming] = ()) -> tuple[Headers, bytes] | None:
    """The answer to a GET of the model lists; None where there is more to say than the last look has to offer."""
    if poller.stale or poller.inventory is None:
        return None
    body = poller.inventory.tags if path == "/api/tags" else with_remotes(poller.inventory.listing, remotes)
    kind = f"{JSON}; charset=utf-8" if path == "/api/tags" else JSON
    return (("Content-Type", kind), ("Content-Length", str(len(body)))), body


async def _known(
    request: web.Request, part: Callable[[Poller], bytes | None], charset: str | None = None
) -> web.Response:
    """The part of the last look that was asked for; where there is none yet, of the next one."""
    poller = request.app[ENGINE].poller
    body = part(poller)
    if body is None and poller.reachable is not False:
        await poller.refresh()
        body = part(poller)
    if body is None:
        raise TargetUnreachable(f"the target has not answered yet: {poller.last_error or 'no answer'}")
    return _answer(poller, body, charset)


def _answer(poller: Poller, body: bytes, charset: str | None = None) -> web.Response:
    response = web.Response(body=body, content_type=JSON, charset=charset)
    if poller.stale and poller.succeeded_at is not None:
        # For people who wonder: how many seconds ago the target last said so.
        response.headers["X-Foreman-Stale"] = str(math.ceil(poller.age()))
    return response
