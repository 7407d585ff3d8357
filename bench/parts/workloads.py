"""What the overhead part asks: the workloads, each with the one question it answers."""

from dataclasses import dataclass
from typing import Final

import orjson

from bench.servers.answers import EMBEDDER, MODEL, Ask
from bench.wire.connection import Request

# As long as a person or a program pauses: a server that was idle is slower than a busy one.
THINK: Final = 0.016


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked, by how many clients, who pause for `think` seconds.

    `lasts` is how long its turns are, in turns of others; `slice` the seconds in which subjects alternate.
    `beside` is a load that goes on meanwhile and is not timed. `cached`: nginx answers it from its own configuration.
    """

    name: str
    shows: str
    request: Request
    clients: int = 1
    think: float = 0.0
    lasts: float = 1.0
    slice: float = 0.25
    chunks: int = 0
    beside: "Workload | None" = None
    cached: bool = False

    @property
    def flat_out(self) -> bool:
        """Whether nothing but the subject, the stub and the client hold it up."""
        return self.think == 0 and self.chunks == 0 and self.beside is None

    def description(self) -> dict[str, object]:
        """What a record says of it."""
        return {"name": self.name, "shows": self.shows, "clients": self.clients, "flat_out": self.flat_out}


def _body(**fields: object) -> bytes:
    return orjson.dumps({"model": MODEL, **fields})


def chat(ask: Ask, **fields: object) -> Request:
    """A chat as Ollama's clients send it."""
    return Request("POST", "/api/chat", _body(messages=[{"role": "user", "content": ask.prompt}], **fields))


def generate(ask: Ask, size: int) -> Request:
    """A prompt of so many bytes."""
    return Request("POST", "/api/generate", _body(prompt=ask.prompt.ljust(size, "x"), stream=True))


def completion(ask: Ask) -> Request:
    """A chat as the OpenAI clients send it, which get a whole answer unless they ask for a stream."""
    message = {"role": "user", "content": ask.prompt}
    return Request("POST", "/v1/chat/completions", _body(messages=[message]))


def embedding(ask: Ask) -> Request:
    return Request("POST", "/api/embed", orjson.dumps({"model": EMBEDDER, "input": ask.prompt}))


TINY: Final = chat(Ask(), stream=True)
_STREAM: Final = Ask(chunks=8, gap_ms=1)

WORKLOADS: Final = (
    Workload(
        name="lone",
        shows="one chat at a time, first token after 5 ms, a pause between them",
        request=chat(Ask(first_ms=5, chunks=4, gap_ms=1), stream=True),
        think=THINK,
        lasts=2.0,
    ),
    Workload(
        name="zero",
        shows="one chat after another, a target that answers at once",
        request=TINY,
    ),
    Workload(
        name="long",
        shows="one stream of 200 chunks, 1 ms apart",
        request=chat(Ask(chunks=200, gap_ms=1), stream=True),
        lasts=1.5,
        slice=0.75,
        chunks=200,
    ),
    Workload(
        name="clients-8",
        shows="8 clients, chats of 8 chunks, 1 ms apart",
        request=chat(_STREAM),
        clients=8,
        slice=0.5,
        chunks=8,
    ),
    Workload(
        name="clients-64",
        shows="64 clients, chats of 8 chunks, 1 ms apart",
        request=chat(_STREAM),
        clients=64,
        slice=1.0,
        chunks=8,
    ),
    Workload(name="saturation", shows="64 clients, tiny chats as fast as they go", request=TINY, clients=64, slice=0.5),
    Workload(
        name="whole",
        shows="one chat at a time that is not streamed, after 5 ms, over /v1",
        request=completion(Ask(first_ms=5)),
        think=THINK,
    ),
    Workload(
        name="bodies",
        shows="prompts of 40 kB, one at a time, first token after 5 ms",
        request=generate(Ask(first_ms=5, chunks=4, gap_ms=1), 40_000),
        think=THINK,
    ),
    Workload(
        name="embeddings",
        shows="one embedding at a time beside 8 clients that chat",
        request=embedding(Ask(first_ms=1)),
        beside=Workload(name="", shows="", request=chat(_STREAM), clients=8),
    ),
    Workload(name="tags", shows="GET /api/tags again and again", request=Request("GET", "/api/tags"), cached=True),
    Workload(name="models", shows="GET /v1/models again and again", request=Request("GET", "/v1/models"), cached=True),
)
