"""The demo's clients: streaming chats by the real `ollama` and `openai` packages.

Neither tries again by itself here, and neither uses a proxy: what a chat shows is what happened on its one connection.
"""

import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from foreman.cli.demo_facts import prompt
from foreman.core.errors import StartupError

KINDS: Final = ("ollama", "openai")


@dataclass(slots=True)
class Chat:
    """One client and its job. `state` is the job's as the database tells it, empty before there is one."""

    number: int
    kind: str
    model: str
    job: str = ""
    state: str = ""
    tokens: int = 0
    text: str = ""
    error: str = ""
    ended: bool = False

    def heard(self, piece: str) -> None:
        self.tokens += 1
        self.text += piece


def import_clients() -> None:
    """Import both now, which takes a while, so that no chat is late. Raises StartupError when one is missing."""
    for kind in KINDS:
        try:
            importlib.import_module(kind)
        except ModuleNotFoundError as error:
            hint = "pip install 'foreman[demo]'"
            raise StartupError(f"the demo needs the real ollama and openai clients: {hint} ({error})") from error


async def ask(chat: Chat, url: str, changed: Callable[[], None]) -> None:
    """Have the chat's one conversation; what became of it stands in the chat. `changed` is called after every piece."""
    speak = _ollama if chat.kind == "ollama" else _openai
    try:
        async with speak(chat, url) as pieces:
            async for piece in pieces:
                if piece:
                    chat.heard(piece)
                    changed()
    except Exception as error:
        # Whatever a client makes of a broken connection is shown; the verdict asks whether it was due.
        chat.error = f"{type(error).__name__}: {error}"
    chat.ended = True
    changed()


@asynccontextmanager
async def _ollama(chat: Chat, url: str) -> AsyncIterator[AsyncIterator[str]]:
    import ollama

    async with ollama.AsyncClient(host=url, trust_env=False) as client:
        messages = [{"role": "user", "content": prompt(chat.number)}]
        parts = await client.chat(model=chat.model, messages=messages, stream=True)
        yield (part.message.content or "" async for part in parts)


@asynccontextmanager
async def _openai(chat: Chat, url: str) -> AsyncIterator[AsyncIterator[str]]:
    import openai

    direct = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, http_client=direct) as client:
        parts = await client.chat.completions.create(
            model=chat.model, messages=[{"role": "user", "content": prompt(chat.number)}], stream=True
        )
        yield (part.choices[0].delta.content or "" async for part in parts if part.choices)
