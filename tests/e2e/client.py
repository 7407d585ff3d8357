"""Plain HTTP clients: one request, and all that came back, also where the answer broke off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.e2e import raw
from tests.e2e.process import Foreman

NO_LIMIT = aiohttp.ClientTimeout(total=None)
Request = tuple[str, dict[str, Any]]


class Got(raw.Answer):
    """An answer as far as it came."""

    @property
    def job(self) -> str:
        return self.headers["x-foreman-job"]


@asynccontextmanager
async def asking(url: str, path: str, body: dict[str, Any] | bytes) -> AsyncIterator[aiohttp.ClientResponse]:
    """One POST on a connection of its own, at its headers; leaving the block early hangs up."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    async with aiohttp.ClientSession(timeout=NO_LIMIT) as session, session.post(url + path, data=data) as response:
        yield response


async def post(url: str, path: str, body: dict[str, Any] | bytes) -> Got:
    """One POST and its answer. Raises one of raw.CUT where there is none."""
    # By hand: aiohttp tells of a break before it gives out what arrived ahead of it.
    answer = await raw.ask(url, f"POST {path}", body=body if isinstance(body, bytes) else orjson.dumps(body))
    return Got(answer.status, answer.headers, answer.body, answer.whole)


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
