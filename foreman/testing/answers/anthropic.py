"""Bodies of /v1/messages."""

from collections.abc import Iterator
from typing import Any

from foreman.testing.answers.answer import Answer, event, events, go_json
from foreman.testing.answers.responses import HEADERS
from foreman.testing.gojson import Fields, Refusal, encode
from foreman.testing.reply import Reply

Block = dict[str, Any]


def wants(fields: Fields) -> None:
    """Raises Refusal(400): a limit of tokens and messages are required."""
    limit = fields.get("max_tokens")
    if not isinstance(limit, int | float) or limit <= 0:
        raise Refusal(400, "max_tokens is required and must be positive")
    if not fields.get("messages"):
        raise Refusal(400, "messages is required")


def messages(fields: Fields, reply: Reply) -> Answer:
    if fields.get("stream"):
        return events((event(item) for item in _stream(fields, reply)), headers=HEADERS)
    said = _message(fields, reply) | {"content": _blocks(reply, filled=True), "stop_reason": _stop_reason(reply)}
    return go_json(said | {"usage": _usage(reply)}, work=reply.tokens)


def _stream(fields: Fields, reply: Reply) -> Iterator[Block]:
    yield {"type": "message_start", "message": _message(fields, reply)}
    for index, block in enumerate(_blocks(reply, filled=False)):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in _deltas(block["type"], reply):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": _usage(reply)}
    yield {"type": "message_stop"}


def _blocks(reply: Reply, *, filled: bool) -> list[Block]:
    """The blocks as they are at the end, or, not filled, as a stream announces them."""
    blocks: list[Block] = []
    if reply.thinking:
        thought = "".join(reply.thoughts()) if filled else ""
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    for call in reply.calls:
        given = call.arguments if filled else {}
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    if not reply.calls:
        blocks.append({"type": "text", "text": "".join(reply.text()) if filled else ""})
    return blocks


def _deltas(kind: str, reply: Reply) -> Iterator[Block]:
    if kind == "text":
        yield from ({"type": "text_delta", "text": token} for token in reply.text())
    elif kind == "thinking":
        yield from ({"type": "thinking_delta", "thinking": token} for token in reply.thoughts())
    else:
        for call in reply.calls:
            yield {"type": "input_json_delta", "partial_json": encode(call.arguments).decode()}


def _message(fields: Fields, reply: Reply) -> Block:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": fields["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": reply.prompt_tokens, "output_tokens": 0},
    }


def _stop_reason(reply: Reply) -> str:
    if reply.calls:
        return "tool_use"
    return "max_tokens" if reply.cut else "end_turn"


def _usage(reply: Reply) -> dict[str, int]:
    return {"input_tokens": reply.prompt_tokens, "output_tokens": reply.tokens + reply.thinking}
