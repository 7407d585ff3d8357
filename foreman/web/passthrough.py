"""Requests that foreman only passes on: streamed both ways, whatever their method, size or status."""

from typing import Final

from aiohttp import ClientResponse, hdrs, web

from foreman.core.errors import Draining, TargetCut, TargetError
from foreman.core.headers import answer_headers, request_headers
from foreman.engine.arrival import arriving
from foreman.engine.poller import Poller
from foreman.web.app_keys import ENGINE
from foreman.web.bodies import Upload
from foreman.web.paths import route_path, sent_path
from foreman.web.relayed import Relayed

# After these the target has other models than before.
MODEL_CHANGES: Final = frozenset({"/api/pull", "/api/create", "/api/copy", "/api/delete"})


async def forward(request: web.Request, body: bytes | None = None) -> web.StreamResponse:
    """Pass a request on and its answer back, streamed.

    A `body` that was read already is one the target will refuse. It goes without its query, which could say otherwise:
    Ollama looks for the model of a transcription there too.
    """
    engine = request.app[ENGINE]
    if engine.draining:
        raise Draining("foreman is shutting down")
    path = sent_path(request) if body is None else route_path(request)
    upload = Upload(request) if body is None and request.can_read_body else None
    headers = request_headers(request.headers)
    if upload is not None and hdrs.CONTENT_LENGTH in request.headers:
        headers = (*headers, ("content-length", request.headers[hdrs.CONTENT_LENGTH]))
    try:
        async with engine.target.forward(request.method, path, headers, upload or body) as upstream:
            changing = engine.poller if route_path(request) in MODEL_CHANGES else None
            return await _passed_back(request, upstream, changing)
    except TargetError:
        if upload is not None and upload.error is not None:
            raise upload.error from None
        engine.poller.soon()
        raise


async def _passed_back(request: web.Request, upstream: ClientResponse, changing: Poller | None) -> web.StreamResponse:
    """The target's answer as it comes. `changing` is the poller where the target's models may be others at its end."""
    response = Relayed(upstream.status, answer_headers(upstream.headers.items()), upstream.reason)
    try:
        await response.prepare(request)
        while chunk := await arriving(upstream):
            # The list must be new before the client hears of the end, for it may ask at once.
            if changing and b'"success"' in chunk:
                await changing.refresh(anew=True)
            await response.write(chunk)
        if changing and upstream.status < 400:
            await changing.refresh(anew=True)
        await response.write_eof()
    except TargetCut:
        await response.break_off(request)
    except ConnectionError:
        # The client is gone, and with it whoever could be told.
        response.force_close()
    return response
