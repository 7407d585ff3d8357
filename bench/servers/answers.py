"""What the stub says: which answer a request asks for, and the bytes of it with their clocks.

A request tells the stub in its prompt how to be answered, because every API has one and no way to the stub changes it.
Each piece of an answer holds two readings of CLOCK_MONOTONIC, which all processes of a machine share: when the request
had arrived at the stub, and when the piece was written. Pure: the clock's readings are handed in.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

MODEL: Final = "bench:latest"
EMBEDDER: Final = "bench-embed:latest"

STAMP: Final = re.compile(rb"@(\d{19});(\d{19})@")
STAMP_TEMPLATE: Final = "@%019d;%019d@"
_ASK: Final = re.compile(rb"\[stub (\d+) (\d+) (\d+) (\d+)\]")

_WHEN: Final = "2026-01-02T03:04:05Z"


@dataclass(frozen=True, slots=True)
class Ask:
    """How to answer: thinking before the first of `chunks` chunks, the gap between them, and the padding of each.

    Times in whole milliseconds, for an event loop's timers are no finer; `size` in bytes, the clocks not counted.
    """

    first_ms: int = 0
    chunks: int = 1
    gap_ms: int = 0
    size: int = 8

    @property
    def prompt(self) -> str:
        return f"[stub {self.first_ms} {self.chunks} {self.gap_ms} {self.size}]"

    @classmethod
    def found_in(cls, body: bytes) -> "Ask | None":
        """None where the body has no such prompt: a request of foreman's own, for example to load a model."""
        at = body.find(b"[stub ")
        match = _ASK.match(body, at) if at >= 0 else None
        return cls(*map(int, match.groups())) if match else None


@dataclass(frozen=True, slots=True)
class Wording:
    """One API: a chunk of its streams, their end, and a whole answer, each with `{}` where the clocks go.

    `streams` says whether a request without a word about it gets a stream; no `chunk` means that it never does.
    """

    whole: str
    content_type: str = ""
    chunk: str = ""
    end: str = ""
    streams: bool = True

    def streamed(self, body: bytes) -> bool:
        if not self.chunk:
            return False
        return b'"stream":true' in body or (self.streams and b'"stream":false' not in body)


_METRICS: Final = (
    '"done_reason":"stop","total_duration":1000,"load_duration":100,"prompt_eval_count":8,'
    '"prompt_eval_duration":100,"eval_count":4,"eval_duration":800'
)
_NAMED: Final = f'{{"model":"{MODEL}","created_at":"{_WHEN}",'
_CHAT: Final = _NAMED + '"message":{"role":"assistant","content":"%s"},'
_GENERATE: Final = _NAMED + '"response":"%s",'
_OPENAI: Final = f'"created":1767323045,"model":"{MODEL}","system_fingerprint":"fp_ollama","choices":[{{"index":0,'
_CHUNK: Final = f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk",{_OPENAI}'

WORDINGS: Final = {
    "/api/chat": Wording(
        content_type="application/x-ndjson",
        chunk=_CHAT % "{}" + '"done":false}\n',
        end=_CHAT % "" + f'"done":true,{_METRICS},"stamp":"{{}}"}}\n',
        whole=_CHAT % "{}" + f'"done":true,{_METRICS}}}',
    ),
    "/api/generate": Wording(
        content_type="application/x-ndjson",
        chunk=_GENERATE % "{}" + '"done":false}\n',
        end=_GENERATE % "" + f'"done":true,{_METRICS},"stamp":"{{}}"}}\n',
        whole=_GENERATE % "{}" + f'"done":true,{_METRICS}}}',
    ),
    "/v1/chat/completions": Wording(
        content_type="text/event-stream",
        chunk=_CHUNK + '"delta":{"role":"assistant","content":"{}"},"finish_reason":null}]}\n\n',
        end=_CHUNK + '"delta":{"content":""},"finish_reason":"stop"}],"stamp":"{}"}\n\ndata: [DONE]\n\n',
        whole=f'{{"id":"chatcmpl-1","object":"chat.completion",{_OPENAI}'
        '"message":{"role":"assistant","content":"{}"},"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}}\n',
        streams=False,
    ),
    "/api/embed": Wording(
        whole=f'{{"model":"{EMBEDDER}","embeddings":[[0.6,0.8]],"prompt_eval_count":4,"stamp":"{{}}"}}'
    ),
}

LOADED: Final = _NAMED + '"response":"","done":true,"done_reason":"load"}'


def response(body: str, status: str = "200 OK", content_type: str = "application/json; charset=utf-8") -> bytes:
    """A whole answer with its length."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


@dataclass(frozen=True, slots=True)
class Template:
    """The bytes of one sort of answer; all but `head` take the two clock readings by `%`."""

    head: bytes
    chunk: bytes
    end: bytes
    whole: bytes


@cache
def template(path: str, size: int) -> Template:
    """The clocks have a fixed width, so lengths are known before they are."""
    wording = WORDINGS[path]
    text = STAMP_TEMPLATE + "x" * size

    def filled(form: str, frame: Callable[[str], str]) -> bytes:
        sample = form.replace("{}", text % (0, 0))
        return frame(sample).replace("%", "%%").replace(STAMP_TEMPLATE % (0, 0), STAMP_TEMPLATE).encode()

    head = f"HTTP/1.1 200 OK\r\nContent-Type: {wording.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Template(
        head=head.encode(),
        chunk=filled(wording.chunk, _chunked) if wording.chunk else b"",
        end=filled(wording.end, lambda body: f"{_chunked(body)}0\r\n\r\n") if wording.chunk else b"",
        whole=filled(wording.whole, lambda body: response(body).decode()),
    )


def _chunked(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n"
