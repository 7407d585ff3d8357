"""The web application and its listening socket."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from foreman.core.addresses import Address
from foreman.core.errors import StartupError
from foreman.engine.engine import Engine
from foreman.settings import Settings
from foreman.web.app_keys import ENGINE, SETTINGS
from foreman.web.errors import errors_to_answers
from foreman.web.guard import GUARD, Guard, guarded, sign
from foreman.web.quick.server import QuickServer
from foreman.web.quick.shared import Shared
from foreman.web.routes import needs_of, table

# Explicit, because the runner's own default is an hour.
KEEPALIVE_SECONDS: Final = 75.0
# After the drain every answer has ended; this is for clients that do not read theirs.
CLOSE_SECONDS: Final = 2.0
BACKLOG: Final = 1024
# As generous as clients behind a reverse proxy need: cookies and tokens that are no business of ours.
HEADER_BYTES: Final = 64 * 1024


def _quotes_nothing(record: logging.LogRecord) -> bool:
    """Whether a line may be logged. What aiohttp says of a request it cannot parse quotes it: a prompt, or a key."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


_AIOHTTP_LOG: Final = logging.getLogger(f"{__name__}.aiohttp")
_AIOHTTP_LOG.setLevel(logging.WARNING)
_AIOHTTP_LOG.addFilter(_quotes_nothing)


def application(settings: Settings, engine: Engine, guard: Guard) -> web.Application:
    """The web application in front of an engine."""
    app = web.Application(middlewares=[errors_to_answers, guarded(needs_of)])
    app[ENGINE] = engine
    app[SETTINGS] = settings
    app[GUARD] = guard
    app.on_response_prepare.append(sign)
    app.add_routes(table())
    return app


@asynccontextmanager
async def listening(app: web.Application, address: Address, *, quick: bool = False) -> AsyncIterator[str]:
    """Serve an application while the block runs; gives its URL. Raises StartupError where the port cannot be had.

    `quick` puts the short way before it.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        logger=_AIOHTTP_LOG,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=CLOSE_SECONDS,
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner was set up and has no server")
    short = QuickServer(_shared(app, runner.server)) if quick else None
    try:
        server = await _bound(short or runner.server, address)
        try:
            host, port = server.sockets[0].getsockname()[:2]
            yield f"http://{Address(host, port)}"
        finally:
            server.close()
            if short is not None:
                await short.close(CLOSE_SECONDS)
    finally:
        await runner.cleanup()


async def _bound(factory: Callable[[], asyncio.Protocol], address: Address) -> asyncio.Server:
    """Raises StartupError."""
    try:
        server = await asyncio.get_running_loop().create_server(factory, address.host, address.port, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(f"cannot listen on {address}: {error.strerror or error}") from error
    for sock in server.sockets:
        # Each connection has it from here: a client whose machine vanished while it waits is found out.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return server


def _shared(app: web.Application, other_way: Callable[[], asyncio.Protocol]) -> Shared:
    return Shared(app[ENGINE], app[SETTINGS], app[GUARD], other_way, KEEPALIVE_SECONDS)
