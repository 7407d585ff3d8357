"""A plain HTTP client: one request, and all that came back, also where the answer broke off."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.e2e.process import Foreman

NO_LIMIT = aiohttp.ClientTimeout(total=None)
Request = tuple[str, dict[str, Any]]


@dataclass
class Got:
    """An answer as far as it came. `whole` says that its body ended as HTTP wants it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    whole: bool = False
    pieces: list[bytes] = field(default_factory=list)

    @property
    def job(self) -> str:
        return self.headers["X-Foreman-Job"]

    @property
    def lines(self) -> list[Any]:
        """The objects of an NDJSON answer."""
        return [orjson.loads(line) for line in self.body.splitlines()]


@asynccontextmanager
async def asking(url: str, path: str, body: dict[str, Any] | bytes) -> AsyncIterator[aiohttp.ClientResponse]:
    """One POST on a connection of its own, at its headers; leaving the block early hangs up."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with aiohttp.ClientSession(timeout=NO_LIMIT) as session, session.post(url + path, data=data) as response:
        yield response


async def post(url: str, path: str, body: dict[str, Any] | bytes) -> Got:
    """One POST and its whole answer."""
    async with asking(url, path, body) as response:
        got = Got(response.status, response.headers)
        try:
            async for piece in response.content.iter_any():
                got.body += piece
                got.pieces.append(piece)
            got.whole = True
        except aiohttp.ClientPayloadError:
            pass
    return got


def chat(model: str, text: str, **fields: Any) -> Request:
    """An Ollama chat as it is posted: (path, body)."""
    return "/api/chat", {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def chat_v1(model: str, text: str, **fields: Any) -> Request:
    """The same in OpenAI's words."""
    return "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def submit(foreman: Foreman, *requests: Request) -> list[asyncio.Task[Got]]:
    """Send requests one by one, each when the one before it is queued. Something must keep the worker busy."""
    waiting = (await foreman.health())["queue"]["depth"]
    tasks = []
    for count, (path, body) in enumerate(requests, start=waiting + 1):
        tasks.append(asyncio.create_task(post(foreman.url, path, body)))
        await foreman.queued(count)
    return tasks
