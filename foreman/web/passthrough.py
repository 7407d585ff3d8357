"""Requests that foreman only passes on: streamed both ways, whatever their method, size or status."""

from aiohttp import ClientError, web

from foreman.core.errors import Draining, TargetError
from foreman.core.headers import answer_headers, request_headers
from foreman.core.ollama import clean_path
from foreman.web.bodies import stream_body
from foreman.web.keys import ENGINE

# After these the target has other models than before.
MODEL_CHANGES = frozenset({"/api/pull", "/api/create", "/api/copy", "/api/delete"})


async def forward(request: web.Request, body: bytes | None = None) -> web.StreamResponse:
    """Pass a request on and its answer back. `body` where it was read already; else it is streamed."""
    engine = request.app[ENGINE]
    if engine.draining:
        raise Draining("foreman is shutting down")
    headers = request_headers(request.headers)
    sent = body if body is not None else stream_body(request) if request.can_read_body else None
    if body is None and "Content-Length" in request.headers:
        headers = (*headers, ("content-length", request.headers["Content-Length"]))
    changes = clean_path(request.raw_path) in MODEL_CHANGES
    try:
        async with engine.target.forward(request.method, request.raw_path, headers, sent) as upstream:
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            for name, value in answer_headers(upstream.headers):
                response.headers.add(name, value)
            await response.prepare(request)
            try:
                async for chunk in upstream.content.iter_any():
                    # The list must be new before the client hears of the end, for it may ask at once.
                    if changes and b'"success"' in chunk:
                        await engine.poller.refresh(anew=True)
                    await response.write(chunk)
            except ClientError:
                _cut(request, response)
                return response
            if changes and upstream.status < 400:
                await engine.poller.refresh(anew=True)
            await response.write_eof()
            return response
    except TargetError:
        engine.poller.soon()
        raise


def _cut(request: web.Request, response: web.StreamResponse) -> None:
    """The target's answer broke off: so does ours, without the final chunk."""
    response.force_close()
    if request.transport is not None:
        request.transport.close()
