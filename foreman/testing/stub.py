"""StubOllama: a real HTTP server with Ollama's surface, a remote control and a ledger.

It owns the listening socket and the connections; what is answered and how lies with the parts it puts together.
Stopping it is like killing an Ollama: every connection is cut at once, open streams too.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from foreman.testing.control import Control
from foreman.testing.front import Front
from foreman.testing.inference import Inference
from foreman.testing.ledger import Ledger
from foreman.testing.models import DEFAULT_MODELS, Library, StubModel
from foreman.testing.reply import DEFAULT_TOKENS
from foreman.testing.residency import Residency
from foreman.testing.script import Script, Scripts

# Connections are cut before the handlers are waited for, so this is only a bound.
_SHUTDOWN_SECONDS = 0.5
# So many rounds of the loop lie between a connection that was accepted and one that can be cut.
_ACCEPT_STEPS = 5


class StubOllama:
    """`async with StubOllama() as stub:` listens on a free loopback port until the block ends."""

    def __init__(
        self,
        models: Iterable[str | StubModel] = DEFAULT_MODELS,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        load_seconds: float = 0.0,
        max_loaded: int = 1,
        parallel: int = 1,
        tokens: int = DEFAULT_TOKENS,
        tokens_per_second: float = 0.0,
        ledger_limit: int | None = None,
    ) -> None:
        """`tokens_per_second` 0 means no pause; `max_loaded` counts worker models, embedding models come on top."""
        self.host = host
        self.port = port
        self.ledger = Ledger(ledger_limit)
        self.library = Library(models)
        self.scripts = Scripts()
        self.residency = Residency(self.ledger, load_seconds=load_seconds, max_loaded=max_loaded, parallel=parallel)
        self._inference = Inference(self.library, self.residency, self.ledger, self.scripts, tokens, tokens_per_second)
        self.front = Front(self._inference)
        self._control = Control(self)
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Without a trailing slash."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def ps(self) -> list[dict[str, Any]] | None:
        """What /api/ps lists instead of the truth; None for the truth."""
        return self.front.ps

    @ps.setter
    def ps(self, models: list[dict[str, Any]] | None) -> None:
        self.front.ps = models

    def script(self, key: str, script: Script | Sequence[Script] | None) -> None:
        """Sets what happens to requests for a model, to a path, or (`*`) to every inference request."""
        self.scripts.set(key, script)

    def release(self, key: str, chunks: int | None = None) -> None:
        """Lets so many chunks (all, without a number) of the oldest held request under `key` go, or of the next."""
        self.scripts.release(key, chunks)

    def hold_loads(self) -> None:
        """Models stay loading until `release_loads`."""
        self.residency.hold_loads()

    def release_loads(self) -> None:
        self.residency.release_loads()

    def freeze(self) -> None:
        """Connections are accepted and requests read, but nothing is answered until `thaw`."""
        self.front.freeze()

    def thaw(self) -> None:
        self.front.thaw()

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        app = self.front.app()
        self._control.add_to(app.router)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        await self.accept()

    async def stop(self) -> None:
        """Cuts everything and forgets what was loaded; `start` takes the same port again."""
        if self._runner is None:
            return
        self._close_socket()
        for _ in range(_ACCEPT_STEPS):
            await asyncio.sleep(0)
        self._cut_connections()
        await self._runner.cleanup()
        await self._inference.close()
        self._control.close()
        self.residency.clear()
        self._runner = None

    async def accept(self) -> None:
        """Listens, again after `refuse`, on the same port."""
        if self._server is not None or self._runner is None or self._runner.server is None:
            return
        sock = self._socket or self._bound()
        self._socket = None
        self._server = await asyncio.get_running_loop().create_server(self._runner.server, sock=sock, backlog=1024)

    def refuse(self) -> None:
        """Stops listening and cuts all connections, as a crash would; the port stays reserved."""
        self._close_socket()
        self._cut_connections()
        # Bound but not listening: connections are refused, and nobody else can take the port meanwhile.
        self._socket = self._bound()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _bound(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        self.port = sock.getsockname()[1]
        return sock

    def _close_socket(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _cut_connections(self) -> None:
        self.ledger.cut_short()
        server = self._runner.server if self._runner is not None else None
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
