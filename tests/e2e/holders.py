"""Programs that ask for slots of a lane, and hold them."""

import asyncio
from typing import Any

import aiohttp
import orjson

from tests.e2e.own import call
from tests.e2e.process import PATIENCE, Foreman


class Asking:
    """A slot that is asked for on a connection of its own: `id` is known at once, `granted` waits for the rest."""

    def __init__(self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> None:
        self._session = session
        self._response = response
        self.id = response.headers["X-Foreman-Job"]
        self.text = b""

    async def padded(self) -> None:
        """Wait for two pieces of white space: one comes at once."""
        async with asyncio.timeout(PATIENCE):
            self.text += await self._response.content.readexactly(2)

    async def granted(self) -> dict[str, Any]:
        try:
            async with asyncio.timeout(PATIENCE):
                async for piece in self._response.content.iter_any():
                    self.text += piece
        finally:
            await self.hang_up()
        slot: dict[str, Any] = orjson.loads(self.text)
        return slot

    async def hang_up(self) -> None:
        self._response.close()
        await self._session.close()


async def ask(foreman: Foreman, lane: str = "local", key: str | None = None, **more: Any) -> Asking:
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
    headers = {} if key is None else {"Idempotency-Key": key}
    response = await session.post(f"{foreman.url}/slots", json={"lane": lane, **more}, headers=headers)
    assert response.status == 200, await response.text()
    return Asking(session, response)


async def held(foreman: Foreman, lane: str = "local", **more: Any) -> str:
    """The id of a slot that was granted."""
    slot = await (await ask(foreman, lane, **more)).granted()
    return str(slot["id"])


async def beat(foreman: Foreman, slot: str) -> tuple[int, Any]:
    status, told, _ = await call(foreman, "POST", f"/slots/{slot}/heartbeat")
    return status, told


async def release(foreman: Foreman, slot: str, body: Any = None) -> tuple[int, Any]:
    status, told, _ = await call(foreman, "DELETE", f"/slots/{slot}", body)
    return status, told


async def waits(foreman: Foreman, job: str) -> dict[str, Any]:
    """The job, which is queued. Also whatever should have happened to it by now has not."""
    _, shown, _ = await call(foreman, "GET", f"/jobs/{job}")
    assert shown["state"] == "queued", shown
    return dict(shown)
