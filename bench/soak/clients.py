"""Clients of all kinds: who waits, who hands over, who leaves in the middle, who asks for much.

A client that is cut off by a restart asks for something else as soon as it gets through again. What may happen to a
request while foreman or its target is restarted is counted and judged by nobody; an answer that ends well says
`answered`, and an answer must never be passed off as whole.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from bench.soak.figures import Soaked

MODELS: Final = ("gemma3:4b", "qwen3:8b", "llama3:8b")
EMBEDDER: Final = "nomic-embed-text:latest"
# How long a client that does not get through waits.
AGAIN_SECONDS: Final = 0.1
LARGE: Final = 400_000
LOOKS: Final = ("/api/tags", "/v1/models", "/queue", "/health", "/jobs?limit=20")

Ask = Callable[["Client"], Awaitable[str]]


class Client:
    """One client with its own connection and its own dice."""

    def __init__(self, session: aiohttp.ClientSession, url: str, dice: random.Random, soaked: Soaked) -> None:
        self._session = session
        self._url = url
        self._dice = dice
        self._soaked = soaked

    async def run(self, until: asyncio.Event) -> None:
        kinds, weights = zip(*KINDS.items(), strict=True)
        while not until.is_set():
            (kind,) = self._dice.choices(kinds, [weight for weight, _ in weights])
            try:
                outcome = await KINDS[kind][1](self)
            except (aiohttp.ClientError, OSError):
                outcome = "cut off"
                await asyncio.sleep(AGAIN_SECONDS)
            self._soaked.outcomes[kind, outcome] += 1

    def chat(self, **more: Any) -> dict[str, Any]:
        message = {"role": "user", "content": f"Say something about {self._dice.random()}."}
        return {"model": self._dice.choice(MODELS), "messages": [message], **more}

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> Any:
        return self._session.post(self._url + path, json=body, headers=headers)

    def get(self, path: str) -> Any:
        return self._session.get(self._url + path)

    async def whole(self, path: str, body: Mapping[str, Any], end: bytes) -> str:
        """Ask and read to the end."""
        async with self.post(path, body) as answer:
            said = await answer.read()
            if answer.status != 200:
                return f"status {answer.status}"
            return "answered" if end in said else "error told"

    async def leave(self, path: str, body: Mapping[str, Any], pieces: int) -> str:
        """Hang up after so many pieces of the answer."""
        async with self.post(path, body) as answer:
            for _ in range(pieces):
                await answer.content.readany()
            answer.close()
        return "left"

    async def leave_waiting(self) -> str:
        """Hang up before there is anything of an answer."""
        asking = asyncio.ensure_future(self.whole("/api/chat", self.chat(), b""))
        await asyncio.wait((asking,), timeout=self._dice.uniform(0.0, 0.05))
        if asking.done():
            return await asking
        asking.cancel()
        await asyncio.wait((asking,))
        return "left"

    async def hand_over(self) -> str:
        """Hand a job over, and look at it, cancel it, or leave it to itself."""
        async with self.post("/api/chat", self.chat(), Prefer="respond-async") as answer:
            if answer.status != 202:
                return f"status {answer.status}"
            job = (await answer.json())["id"]
        then = self._dice.choice(("read", "cancel", "leave"))
        if then == "cancel":
            async with self._session.delete(f"{self._url}/jobs/{job}") as answer:
                return "cancelled" if answer.status < 300 else f"status {answer.status}"
        if then == "leave":
            return "handed over"
        async with self.get(f"/jobs/{job}/response") as answer:
            said = await answer.read()
            return "answered" if answer.status == 200 and b'"done":true' in said else "error told"

    async def look(self) -> str:
        async with self.get(
            self._dice.choice(("/api/tags", "/v1/models", "/queue", "/health", "/jobs?limit=20"))
        ) as answer:
            await answer.read()
            return "answered" if answer.status == 200 else f"status {answer.status}"


DONE: Final = b'"done":true'

# How often each is asked for, and how.
KINDS: Final[Mapping[str, tuple[int, Ask]]] = {
    "chat, streamed": (40, lambda client: client.whole("/api/chat", client.chat(), DONE)),
    "chat, whole": (10, lambda client: client.whole("/api/chat", client.chat(stream=False), DONE)),
    "chat, OpenAI": (10, lambda client: client.whole("/v1/chat/completions", client.chat(stream=True), b"[DONE]")),
    "chat, 400 kB": (2, lambda client: client.whole("/api/chat", client.chat(system="x" * LARGE), DONE)),
    "chat, left in the middle": (10, lambda client: client.leave("/api/chat", client.chat(), 2)),
    "chat, left while waiting": (8, lambda client: client.leave_waiting()),
    "job, handed over": (10, lambda client: client.hand_over()),
    "embeddings": (5, lambda client: client.whole("/api/embed", {"model": EMBEDDER, "input": "x"}, b'"embeddings"')),
    "a look": (5, lambda client: client.look()),
}
