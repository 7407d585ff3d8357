"""Watching the target's answer beside the stream: was it complete, did it fail, how many tokens did it count.

Rules:
1. Bytes are looked at, never changed, and may be cut anywhere: inside a line, a CRLF, a UTF-8 sequence.
2. No line is parsed while the answer runs; the last few are kept, and parsed once at the end.
3. The end of the bytes proves nothing: only the target's own terminal event makes an answer DONE. A terminal event
   that was seen stays seen, whatever becomes of the connection after it.
It must not know who reads the answer, nor what happens after the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from foreman.core import upkeep

# A longer line, or a longer answer that is no stream, is not looked into.
MAX_KEPT: Final = 64 << 20

# The terminal frame, the one before it with the token counts, and one to spare for a [DONE] that is not expected.
_FRAMES: Final = 3
_BLANK: Final = (b"", b"\r")
_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"


class Framing(StrEnum):
    """How an answer is cut into messages: JSON lines, server-sent events, or not at all."""

    NDJSON = "ndjson"
    SSE = "sse"
    WHOLE = "whole"


def framing_of(content_type: str) -> Framing:
    """The framing that a Content-Type stands for."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-ndjson":
        return Framing.NDJSON
    return Framing.SSE if kind == "text/event-stream" else Framing.WHOLE


class VerdictKind(StrEnum):
    """DONE: the terminal event was seen. FAILED: the target itself reported a failure. CUT: neither."""

    DONE = "done"
    FAILED = "failed"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer ended; `message` is the target's own where it failed. Counts in tokens, None where unstated."""

    kind: VerdictKind
    message: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class Watch:
    """Looks on while an answer passes. `path` is the request's, which decides what ends an event stream."""

    def __init__(self, framing: Framing, path: str) -> None:
        self._framing = framing
        self._path = path
        self._open = bytearray()  # what came after the last line end; of an answer that is no stream, all of it
        self._lines: list[bytes] = []  # the last lines that say something, each with its end seen
        self._dispatched = False  # whether a blank line followed the last of them, which is what ends an event
        self._last = b"\n"

    @property
    def mid_line(self) -> bool:
        """Whether bytes came, and the last of them does not end a line."""
        return self._last != b"\n"

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes of the answer."""
        if not chunk:
            return
        self._last = chunk[-1:]
        if self._framing is Framing.WHOLE:
            self._keep(chunk)
            return
        if self._last == b"\n" and not self._open and len(chunk) <= MAX_KEPT:
            # Whole lines, as nearly all of a stream comes.
            self._note(chunk[:-1].split(b"\n"))
            return
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        if rest:
            line = bytes(self._open)
            self._open.clear()
            self._keep(rest.pop())
            self._note([line, *rest])

    def verdict(self, complete: bool) -> Verdict:
        """Judge what was fed. `complete` says that the target ended the body as HTTP wants it, with nothing missing."""
        rest = bytes(self._open)
        if self._framing is Framing.WHOLE:
            return _judge_whole(rest) if complete else Verdict(VerdictKind.CUT)
        if self._framing is Framing.NDJSON:
            # A last line without its end is a message all the same, if it is a whole object.
            lines = [*self._lines, rest] if _object(rest) else self._lines
            return _judge_object(_object(lines[-1]), self._path) if lines else Verdict(VerdictKind.CUT)
        lines = self._lines if complete or self._dispatched else self._lines[:-1]
        if complete and rest.startswith(_DATA):
            lines = [*lines, rest]
        return _judge_events([line[len(_DATA) :].strip() for line in lines], self._path)

    def _keep(self, piece: bytes) -> None:
        if len(self._open) + len(piece) <= MAX_KEPT:
            self._open += piece
        else:
            self._open[:] = b"?"  # parses as nothing

    def _note(self, lines: list[bytes]) -> None:
        """Keep the last of the lines that say something: in NDJSON all but blank ones, else the `data` fields."""
        if self._framing is Framing.NDJSON:
            for line in reversed(lines):
                if line and not line.isspace():
                    self._lines = [line]
                    break
            return
        for line in lines:
            if line.startswith(_DATA):
                self._lines = [*self._lines[1 - _FRAMES :], line]
                self._dispatched = False
            elif line in _BLANK:
                self._dispatched = True


def _judge_whole(body: bytes) -> Verdict:
    """An answer without framing is complete when all of it came, unless it says otherwise. Not all of them are JSON."""
    if not body.strip():
        return Verdict(VerdictKind.CUT)
    answer = _object(body)
    if answer.keys() <= {"error"} and answer:
        return Verdict(VerdictKind.FAILED, _message(answer["error"]))
    kind = VerdictKind.CUT if answer.get("done") is False else VerdictKind.DONE
    return _counted(kind, answer)


def _judge_object(answer: dict[str, Any], path: str) -> Verdict:
    if answer.get("error"):
        return _counted(VerdictKind.FAILED, answer, _message(answer["error"]))
    done = answer.get("done") is True or bool(answer.get("done_reason"))
    if path in upkeep.PATHS:
        done = answer.get("status") == "success"
    return _counted(VerdictKind.DONE if done else VerdictKind.CUT, answer)


def _judge_events(data: Sequence[bytes], path: str) -> Verdict:
    if path.startswith(("/v1/responses", "/v1/messages")):
        events = [_object(text) for text in data if text != _DONE]
        return _judge_typed(events)
    ended = data[-1:] == [_DONE]
    frames = data[:-1] if ended else data
    last = _object(frames[-1]) if frames else {}
    if last.get("error"):
        return Verdict(VerdictKind.FAILED, _message(last["error"]))
    return _counted(VerdictKind.DONE, last) if ended else Verdict(VerdictKind.CUT)


def _judge_typed(events: Sequence[dict[str, Any]]) -> Verdict:
    """The APIs that name their events by `type`: the last one tells, the one before it may hold the counts."""
    last = events[-1] if events else {}
    match last.get("type"):
        case "response.completed" | "response.incomplete":
            return _counted(VerdictKind.DONE, _inner(last, "response"))
        case "response.failed":
            response = _inner(last, "response")
            return _counted(VerdictKind.FAILED, response, _message(response.get("error")))
        case "message_stop":
            return _counted(VerdictKind.DONE, events[-2] if len(events) > 1 else {})
        case "error":
            return Verdict(VerdictKind.FAILED, _message(last.get("error") or last.get("message")))
    if last.get("error"):
        return Verdict(VerdictKind.FAILED, _message(last["error"]))
    return Verdict(VerdictKind.CUT)


def _counted(kind: VerdictKind, answer: dict[str, Any], message: str = "") -> Verdict:
    usage = answer | _inner(answer, "usage")
    return Verdict(
        kind,
        message,
        _first_count(usage, "prompt_eval_count", "prompt_tokens", "input_tokens"),
        _first_count(usage, "eval_count", "completion_tokens", "output_tokens"),
    )


def _first_count(usage: dict[str, Any], *names: str) -> int | None:
    counts = (usage[name] for name in names if isinstance(usage.get(name), int))
    return next(counts, None)


def _message(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or orjson.dumps(error).decode()
    return error if isinstance(error, str) and error else "the target reported a failure without a word"


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object that `text` is; empty where it is none."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _inner(answer: dict[str, Any], name: str) -> dict[str, Any]:
    value = answer.get(name)
    return value if isinstance(value, dict) else {}
