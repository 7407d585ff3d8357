"""Bodies of /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/audio/transcriptions."""

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Any, Final

from foreman.testing.answers.answer import CREATED, Answer, data, events, go_json, plain
from foreman.testing.answers.vectors import vector
from foreman.testing.gojson import Fields, Refusal, encode
from foreman.testing.reply import Reply

_DONE: Final = b"data: [DONE]\n\n"


def chat_wants(fields: Fields) -> None:
    """Raises Refusal(400) when there are no messages."""
    if not fields.get("messages"):
        raise Refusal(400, "[] is too short - 'messages'")


def chat(fields: Fields, reply: Reply) -> Answer:
    if fields.get("stream"):
        odd = _chunk(reply, "", [_delta({"role": "assistant", "content": ""})])
        return events(_chat_frames(fields, reply), swallowed=data(odd))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.text())}
    if reply.thinking:
        message["reasoning"] = "".join(reply.thoughts())
    message |= _tool_calls(reply)
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    body = _head(reply, "chatcmpl", "chat.completion", fields["model"])
    return go_json(body | {"choices": [choice], "usage": _usage(reply)}, work=reply.tokens)


def _chat_frames(fields: Fields, reply: Reply) -> Iterator[bytes]:
    model = fields["model"]
    first: dict[str, Any] = {"role": "assistant"}
    for name, tokens in (("reasoning", reply.thoughts()), ("content", reply.text())):
        for token in tokens:
            # The first delta has a content, an empty one when the model thinks first.
            yield data(_chunk(reply, model, [_delta((first and first | {"content": ""}) | {name: token})]))
            first = {}
    if reply.calls:
        yield data(_chunk(reply, model, [_delta(first | {"content": ""} | _tool_calls(reply))]))
    yield data(_chunk(reply, model, [_delta({}, _finish(reply))]))
    if _wants_usage(fields):
        yield data(_chunk(reply, model, []) | {"usage": _usage(reply)})
    yield _DONE


def completions_wants(fields: Fields) -> None:
    """Raises Refusal(400): only a string will do as a prompt."""
    if not isinstance(fields.get("prompt", ""), str):
        raise Refusal(400, "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string")


def completions(fields: Fields, reply: Reply) -> Answer:
    head = _head(reply, "cmpl", "text_completion", fields["model"])
    if fields.get("stream"):
        odd = data(head | {"model": "", "choices": [_text_choice("", None)]})
        return events(_completion_frames(fields, reply, head), swallowed=odd)
    choice = _text_choice("".join(reply.text()), reply.done_reason)
    return go_json(head | {"choices": [choice], "usage": _usage(reply)}, work=reply.tokens)


def _completion_frames(fields: Fields, reply: Reply, head: dict[str, Any]) -> Iterator[bytes]:
    """The finish reason is on the last text chunk; wanted usage is zero on every chunk but one more at the end."""
    zero = {"usage": dict.fromkeys(_usage(reply), 0)} if _wants_usage(fields) else {}
    for token in reply.text():
        yield data(head | {"choices": [_text_choice(token, None)]} | zero)
    yield data(head | {"choices": [_text_choice("", reply.done_reason)]} | zero)
    if zero:
        yield data(head | {"choices": [], "usage": _usage(reply)})
    yield _DONE


def embeddings_wants(fields: Fields) -> None:
    """Raises Refusal(400) when there is nothing, or something other than text, to embed."""
    wanted = fields.get("input")
    if wanted is None or wanted == []:
        raise Refusal(400, "invalid input")
    if not all(isinstance(text, str) for text in ([wanted] if isinstance(wanted, str) else wanted)):
        raise Refusal(400, "invalid input type")


def embeddings(fields: Fields) -> Answer:
    texts = [fields["input"]] if isinstance(fields["input"], str) else fields["input"]
    packed = fields.get("encoding_format") == "base64"
    rows = [vector(text, fields.get("dimensions")) for text in texts]
    items = [
        {"object": "embedding", "embedding": _base64(row) if packed else row, "index": index}
        for index, row in enumerate(rows)
    ]
    counted = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": counted, "total_tokens": counted}
    return go_json({"object": "list", "data": items, "model": fields["model"], "usage": usage})


def transcription(fields: Fields, reply: Reply) -> Answer:
    text = "".join(reply.text())
    return plain(text) if fields.get("response_format") == "text" else go_json({"text": text}, work=reply.tokens)


def _base64(row: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()


def _head(reply: Reply, prefix: str, kind: str, model: str) -> dict[str, Any]:
    """The number is below 999 as Ollama's is, so two answers may well share it."""
    number = int(hashlib.sha256(reply.seed.encode()).hexdigest(), 16) % 999
    head = {"id": f"{prefix}-{number}", "object": kind, "created": CREATED, "model": model}
    return head | {"system_fingerprint": "fp_ollama"}


def _chunk(reply: Reply, model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return _head(reply, "chatcmpl", "chat.completion.chunk", model) | {"choices": choices}


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _text_choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "finish_reason": finish}


def _tool_calls(reply: Reply) -> dict[str, Any]:
    if not reply.calls:
        return {}
    calls = []
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": encode(call.arguments).decode()}
        calls.append({"id": call.id, "index": index, "type": "function", "function": function})
    return {"tool_calls": calls}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.calls else reply.done_reason


def _usage(reply: Reply) -> dict[str, int]:
    spoken = reply.tokens + reply.thinking
    total = reply.prompt_tokens + spoken
    return {"prompt_tokens": reply.prompt_tokens, "completion_tokens": spoken, "total_tokens": total}


def _wants_usage(fields: Fields) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))
