"""Verdicts on answers as Ollama ends them, breaks them off, and as the network cuts them."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import framing as framing_module
from foreman.core.framing import Framing, Verdict, VerdictKind, Watch, framing_of

DONE, FAILED, CUT = VerdictKind.DONE, VerdictKind.FAILED, VerdictKind.CUT
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
PULL = "/api/pull"


def ndjson(*objects: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in objects)


def sse(*frames: dict[str, Any] | str, end: str = "\n") -> bytes:
    """Frames as Ollama writes them: those with a `type` get an event line."""
    text = ""
    for frame in frames:
        if isinstance(frame, dict) and "type" in frame:
            text += f"event: {frame['type']}{end}"
        text += f"data: {frame if isinstance(frame, str) else json.dumps(frame, ensure_ascii=False)}{end}{end}"
    return text.encode()


TOKEN = {"model": "m", "message": {"role": "assistant", "content": "héllo 🌍"}, "done": False}
LAST = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 26, "eval_count": 298}
CHUNK = {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "héllo 🌍"}}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
DELTA = {"type": "response.output_text.delta", "delta": "x"}
COMPLETED = {"type": "response.completed", "response": {"usage": {"input_tokens": 5, "output_tokens": 6}}}
STOP = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 8, "output_tokens": 9}},
    {"type": "message_stop"},
)
BLOCK = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}

STREAMS: list[tuple[str, bytes, Verdict]] = [
    ("/api/chat", ndjson(TOKEN, TOKEN, LAST), Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(LAST), Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(TOKEN, LAST).rstrip(), Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(TOKEN, LAST) + b"\n \r\n", Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(TOKEN, LAST).replace(b"\n", b"\r\n"), Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(TOKEN, LAST) + b'{"mod', Verdict(DONE, "", 26, 298)),
    ("/api/chat", ndjson(TOKEN, {"done_reason": "length"}), Verdict(DONE)),
    ("/api/generate", ndjson({"done": True, "done_reason": "load"}), Verdict(DONE)),
    ("/api/chat", ndjson(TOKEN), Verdict(CUT)),
    ("/api/chat", ndjson(TOKEN, TOKEN)[:-9], Verdict(CUT)),
    ("/api/chat", ndjson(LAST, TOKEN), Verdict(CUT)),
    ("/api/chat", ndjson(TOKEN, {"done": "true"}), Verdict(CUT)),
    ("/api/chat", ndjson(TOKEN) + b"garbage\n", Verdict(CUT)),
    ("/api/chat", ndjson(TOKEN) + b"[1]\n", Verdict(CUT)),
    ("/api/chat", b"", Verdict(CUT)),
    ("/api/chat", b" \n\n", Verdict(CUT)),
    ("/api/chat", ndjson(TOKEN, {"error": "runner died"}), Verdict(FAILED, "runner died")),
    ("/api/chat", ndjson({"error": {"message": "no"}}), Verdict(FAILED, "no")),
    ("/api/chat", ndjson({"error": {"code": 7}}), Verdict(FAILED, '{"code":7}')),
    (PULL, ndjson({"status": "pulling manifest"}, {"status": "success"}), Verdict(DONE)),
    (PULL, ndjson({"status": "success"}).rstrip(), Verdict(DONE)),
    (PULL, ndjson({"status": "pulling manifest"}), Verdict(CUT)),
    (PULL, ndjson({"status": "success"}, {"status": "pulling manifest"}), Verdict(CUT)),
    (PULL, ndjson({"status": "pulling manifest", "done": True}), Verdict(CUT)),
    (PULL, ndjson({"status": "pulling manifest"}, {"error": "no such file"}), Verdict(FAILED, "no such file")),
    ("/api/chat", ndjson({"status": "success"}), Verdict(CUT)),
    (CHAT, sse(CHUNK, CHUNK, "[DONE]"), Verdict(DONE)),
    (CHAT, sse(CHUNK, USAGE, "[DONE]"), Verdict(DONE, "", 3, 4)),
    (CHAT, sse(CHUNK, USAGE, "[DONE]", end="\r\n"), Verdict(DONE, "", 3, 4)),
    (CHAT, sse(CHUNK, USAGE, "[DONE]").replace(b": ", b":"), Verdict(DONE, "", 3, 4)),
    (CHAT, sse(CHUNK, "[DONE]") + b": bye\n\n: bye\n\n" * 9, Verdict(DONE)),
    ("/v1/completions", sse("[DONE]"), Verdict(DONE)),
    (CHAT, sse(CHUNK, USAGE), Verdict(CUT)),
    (CHAT, sse(CHUNK) + b"data: [DO", Verdict(CUT)),
    (CHAT, sse("[DONE]", CHUNK), Verdict(CUT)),
    (CHAT, sse(CHUNK, {"error": {"message": "oh", "code": "x"}}), Verdict(FAILED, "oh")),
    (CHAT, sse(CHUNK, {"error": {"message": "oh"}}, "[DONE]"), Verdict(FAILED, "oh")),
    (CHAT, sse({"type": "response.completed"}), Verdict(CUT)),
    (CHAT, b": only a comment\n\n", Verdict(CUT)),
    (RESPONSES, sse(DELTA, COMPLETED), Verdict(DONE, "", 5, 6)),
    (RESPONSES, sse(DELTA, COMPLETED, "[DONE]"), Verdict(DONE, "", 5, 6)),
    (RESPONSES, sse(DELTA, COMPLETED | {"type": "response.incomplete"}), Verdict(DONE, "", 5, 6)),
    (RESPONSES, sse(DELTA, "[DONE]"), Verdict(CUT)),
    (RESPONSES, sse(COMPLETED, DELTA), Verdict(CUT)),
    (RESPONSES, sse({"type": "response.failed", "response": {"error": {"message": "oh"}}}), Verdict(FAILED, "oh")),
    (RESPONSES, sse(DELTA, {"type": "error", "code": "e", "message": "oh"}), Verdict(FAILED, "oh")),
    (RESPONSES, sse(DELTA, {"error": {"message": "oh"}}), Verdict(FAILED, "oh")),
    (MESSAGES, sse(BLOCK, *STOP), Verdict(DONE, "", 8, 9)),
    (MESSAGES, sse(STOP[1]), Verdict(DONE)),
    (MESSAGES, sse(BLOCK, STOP[0]), Verdict(CUT)),
    (MESSAGES, sse(BLOCK, {"type": "error", "error": {"type": "api_error", "message": "oh"}}), Verdict(FAILED, "oh")),
]


def framing_for(path: str) -> Framing:
    return Framing.SSE if path.startswith("/v1/") else Framing.NDJSON


def judge(framing: Framing, path: str, chunks: list[bytes], complete: bool = True) -> Verdict:
    watch = Watch(framing, path)
    for chunk in chunks:
        watch.feed(chunk)
    assert watch.verdict(complete) == watch.verdict(complete)
    return watch.verdict(complete)


@pytest.mark.parametrize(("path", "body", "expected"), STREAMS)
def test_the_verdict_on_a_stream(path: str, body: bytes, expected: Verdict) -> None:
    assert judge(framing_for(path), path, [body]) == expected


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 2000), max_size=12), st.booleans())
def test_where_the_bytes_are_cut_does_not_matter(
    stream: tuple[str, bytes, Verdict], cuts: list[int], complete: bool
) -> None:
    path, body, _ = stream
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in itertools.pairwise(edges)]
    framing = framing_for(path)
    assert judge(framing, path, chunks, complete) == judge(framing, path, [body], complete)


@pytest.mark.parametrize(("path", "body", "expected"), STREAMS)
def test_one_byte_at_a_time(path: str, body: bytes, expected: Verdict) -> None:
    assert judge(framing_for(path), path, [body[i : i + 1] for i in range(len(body))]) == expected


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", ndjson(TOKEN, TOKEN, LAST)),
        (CHAT, sse(CHUNK, USAGE, "[DONE]")),
        (CHAT, sse(CHUNK, USAGE, "[DONE]", end="\r\n")),
        (RESPONSES, sse(DELTA, COMPLETED)),
        (MESSAGES, sse(BLOCK, *STOP)),
    ],
)
def test_a_connection_that_breaks_before_the_end_of_the_terminal_event_is_a_cut(path: str, body: bytes) -> None:
    framing = framing_for(path)
    verdicts = [judge(framing, path, [body[:end]], complete=False).kind for end in range(len(body) + 1)]
    first = verdicts.index(DONE)
    assert set(verdicts[:first]) == {CUT}
    assert set(verdicts[first:]) == {DONE}
    assert len(body) - first <= (1 if framing is Framing.NDJSON else 0)


WHOLE: list[tuple[bytes, Verdict]] = [
    (json.dumps(LAST).encode(), Verdict(DONE, "", 26, 298)),
    (json.dumps({"object": "chat.completion", **USAGE}).encode() + b"\n", Verdict(DONE, "", 3, 4)),
    (b'{"type":"message","usage":{"input_tokens":1,"output_tokens":2}}', Verdict(DONE, "", 1, 2)),
    (b'{"text":"spoken"}', Verdict(DONE)),
    (b"spoken words", Verdict(DONE)),
    (b"[1,2]", Verdict(DONE)),
    (b'{"error":null,"status":"completed"}', Verdict(DONE)),
    (json.dumps(TOKEN).encode(), Verdict(CUT)),
    (b"", Verdict(CUT)),
    (b" \n", Verdict(CUT)),
    (b'{"error":"oh"}', Verdict(FAILED, "oh")),
    (b'{"error":{"message":"oh","type":"api_error"}}', Verdict(FAILED, "oh")),
]


@pytest.mark.parametrize(("body", "expected"), WHOLE)
def test_the_verdict_on_a_whole_answer(body: bytes, expected: Verdict) -> None:
    chunks = [body[:7], b"", body[7:]]
    assert judge(Framing.WHOLE, "/api/chat", chunks) == expected
    assert judge(Framing.WHOLE, "/api/chat", chunks, complete=False) == Verdict(CUT)


@pytest.mark.parametrize(("size", "length"), [(1, 300_000), (7, 2_000_000), (4096, 12_000_000)])
def test_a_long_line_in_small_chunks(size: int, length: int) -> None:
    body = ndjson(TOKEN, LAST | {"context": "x" * length})
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert judge(Framing.NDJSON, "/api/generate", chunks) == Verdict(DONE, "", 26, 298)


def test_a_line_beyond_the_limit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing_module, "MAX_KEPT", 1000)
    long = ndjson(LAST | {"context": "x" * 2000})
    watch = Watch(Framing.NDJSON, "/api/generate")
    for start in range(0, len(long), 10):
        watch.feed(long[start : start + 10])
        assert len(watch._open) <= 1000
    assert watch.verdict(True) == Verdict(CUT)
    watch.feed(ndjson(LAST))
    assert watch.verdict(True).kind is DONE
    assert judge(Framing.WHOLE, "/api/generate", [long]) == Verdict(DONE)


def test_mid_line() -> None:
    watch = Watch(Framing.NDJSON, "/api/chat")
    seen = [watch.mid_line]
    for chunk in (b"a", b"", b"\n", b"b\nc", b"\r\n"):
        watch.feed(chunk)
        seen.append(watch.mid_line)
    assert seen == [False, True, True, False, True, False]


@pytest.mark.parametrize(
    ("content_type", "framing"),
    [
        ("application/x-ndjson", Framing.NDJSON),
        ("Application/X-NDJSON; charset=utf-8", Framing.NDJSON),
        ("text/event-stream", Framing.SSE),
        ("text/event-stream;charset=utf-8", Framing.SSE),
        ("application/json; charset=utf-8", Framing.WHOLE),
        ("text/plain", Framing.WHOLE),
        ("", Framing.WHOLE),
    ],
)
def test_the_content_type_decides_the_framing(content_type: str, framing: Framing) -> None:
    assert framing_of(content_type) is framing


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_messages_are_counted_however_they_are_cut(step: int) -> None:
    answers = {
        Framing.NDJSON: (ndjson(*({"response": "a"} for _ in range(5))), 5),
        Framing.SSE: (sse({"choices": []}, {"type": "x"}, "[DONE]"), 3),
        Framing.WHOLE: (b'{"done": true}\n{}\n', 0),
    }
    for kind, (body, count) in answers.items():
        watch = Watch(kind, CHAT)
        for at in range(0, len(body), step):
            watch.feed(body[at : at + step])
        assert watch.pieces == count
