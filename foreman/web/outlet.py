"""Where an answer goes: what a delivery needs to know of the connection to one client, whoever keeps that."""

from collections.abc import Callable
from typing import Protocol

from foreman.core.headers import Headers
from foreman.engine.relay import Reader


class Outlet(Protocol):
    """`begin`, then bytes, then `end` or `break_off`. All that write raise ConnectionError where the client is gone."""

    @property
    def sized(self) -> bool:
        """Whether the length of the body was announced."""

    async def begin(self, status: int, headers: Headers) -> None: ...

    async def write(self, chunk: bytes) -> None: ...

    async def relay(self, reader: Reader, note: Callable[[bytes], None], patience: float | None) -> bool:
        """Pass on all that the reader gets, each piece told to `note` before it leaves.

        True after the last; False where none came for `patience` seconds. Raises what the reader raises.
        """

    async def end(self) -> None: ...

    async def break_off(self, last: bytes) -> None:
        """Write the last words and close without the final chunk. FIN, not RST, or the words could get lost."""

    def give_up(self) -> None:
        """The client is gone."""
