"""What all connections on the short way share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from typing import Protocol

from foreman.engine.engine import Engine
from foreman.engine.waiter import Waiter
from foreman.settings import Settings
from foreman.web.guard import Guard
from foreman.web.quick.request import BODY_BYTES


class Open(Protocol):
    """A connection that can be ended."""

    def close(self) -> None: ...

    def abort(self) -> None: ...


@dataclass(slots=True, eq=False)
class Shared:
    """`other_way` makes the protocol for all that is not ordinary.

    `idle_seconds` is how long a client may say nothing, `body_bytes` the largest body that is ordinary here.
    """

    engine: Engine
    settings: Settings
    guard: Guard
    other_way: Callable[[], asyncio.Protocol]
    idle_seconds: float
    connections: set[Open] = field(default_factory=set)
    closing: bool = False
    body_bytes: int = field(init=False)
    _ended: Waiter = field(default_factory=Waiter)
    _second: int = 0
    _lines: bytes = b""

    def __post_init__(self) -> None:
        self.body_bytes = min(BODY_BYTES, self.settings.max_body_bytes)

    def forget(self, connection: Open) -> None:
        """It has ended, or is somebody else's now."""
        self.connections.discard(connection)
        if not self.connections:
            self._ended.wake()

    async def empty(self, patience: float) -> None:
        """Wait until no connection is left, or for `patience` seconds."""
        if self.connections:
            await self._ended.wait(patience)

    def common(self) -> bytes:
        """The header lines that every answer has."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._lines = f"Server: foreman\r\nDate: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._lines
