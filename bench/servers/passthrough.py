"""`python -m bench.servers.passthrough --target URL`: a plain aiohttp pass-through, no queue, no database.

What anybody would write on a good afternoon, and so the yardstick: it is what foreman would cost if it did nothing.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from foreman.cli.serve import loop_factory

READY: Final = "pass-through listening on "
_SENT: Final = ("Content-Type",)
_KEPT: Final = ("Content-Type", "Content-Length")


def passing(session: aiohttp.ClientSession, target: str) -> Handler:
    """A handler that sends each request on and each piece of the answer back as it comes."""

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        body = await request.read()
        async with session.request(request.method, target + request.path_qs, data=body, headers=headers) as answer:
            kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    return handle


async def serve(target: str) -> None:
    """Serve on a free loopback port until told to stop."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        timeout=no_limit, auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", passing(session, target))
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        print(f"{READY}http://{host}:{port}", file=sys.stderr, flush=True)
        await stopped.wait()
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.servers.passthrough", description="A plain aiohttp pass-through."
    )
    parser.add_argument("--target", required=True, metavar="URL")
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(serve(parser.parse_args(argv).target.rstrip("/")))


if __name__ == "__main__":
    main()
