"""Bodies of /v1/responses: typed events, numbered, without a [DONE]."""

from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from foreman.testing.answers.answer import CREATED, Answer, event, events, go_json
from foreman.testing.gojson import Fields, encode
from foreman.testing.reply import Reply

Item = dict[str, Any]

HEADERS: Final = {"Cache-Control": "no-cache", "Connection": "keep-alive"}


def responses(fields: Fields, reply: Reply) -> Answer:
    if fields.get("stream"):
        numbers = count()
        frames = (event(item | {"sequence_number": next(numbers)}) for item in _stream(fields, reply))
        return events(frames, headers=HEADERS)
    return go_json(_response(fields, reply, "completed", _output(reply, filled=True)), work=reply.tokens)


def _stream(fields: Fields, reply: Reply) -> Iterator[Item]:
    for name in ("created", "in_progress"):
        yield {"type": f"response.{name}", "response": _response(fields, reply, "in_progress", [])}
    steps = {"reasoning": _reasoning_events, "message": _message_events, "function_call": _call_events}
    # The items are filled only once they are said, so that an endless answer can begin.
    for index, item in enumerate(_output(reply, filled=False)):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield from steps[item["type"]]({"output_index": index, "item_id": item["id"]}, reply)
        yield {"type": "response.output_item.done", "output_index": index, "item": _output(reply, filled=True)[index]}
    completed = _response(fields, reply, "completed", _output(reply, filled=True))
    yield {"type": "response.completed", "response": completed}


def _message_events(at: Item, reply: Reply) -> Iterator[Item]:
    at = at | {"content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": _part("")}
    for token in reply.text():
        yield {"type": "response.output_text.delta", **at, "delta": token, "logprobs": []}
    text = "".join(reply.text())
    yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": _part(text)}


def _reasoning_events(at: Item, reply: Reply) -> Iterator[Item]:
    at = at | {"summary_index": 0}
    for token in reply.thoughts():
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": token}
    yield {"type": "response.reasoning_summary_text.done", **at, "text": "".join(reply.thoughts())}


def _call_events(at: Item, reply: Reply) -> Iterator[Item]:
    for call in reply.calls:
        arguments = encode(call.arguments).decode()
        yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}
        yield {"type": "response.function_call_arguments.done", **at, "name": call.name, "arguments": arguments}


def _output(reply: Reply, *, filled: bool) -> list[Item]:
    """The items as they are at the end, or, not filled, as a stream announces them."""
    output: list[Item] = []
    status = "completed" if filled else "in_progress"
    if reply.thinking:
        summary = [{"type": "summary_text", "text": "".join(reply.thoughts())}] if filled else []
        output.append({"id": "rs_1", "type": "reasoning", "summary": summary})
    for call in reply.calls:
        named = {"id": f"fc_{call.id}", "type": "function_call", "status": status, "call_id": call.id}
        given = encode(call.arguments).decode() if filled else ""
        output.append(named | {"name": call.name, "arguments": given})
    if not reply.calls:
        content = [_part("".join(reply.text()))] if filled else []
        said = {"id": "msg_1", "type": "message", "status": status, "role": "assistant"}
        output.append(said | {"content": content})
    return output


def _part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response(fields: Fields, reply: Reply, status: str, output: list[Item]) -> Item:
    response: Item = {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "model": fields["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": fields.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }
    return response | {"usage": _usage(reply)} if status == "completed" else response


def _usage(reply: Reply) -> Item:
    spoken = reply.tokens + reply.thinking
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": spoken,
        "output_tokens_details": {"reasoning_tokens": reply.thinking},
        "total_tokens": reply.prompt_tokens + spoken,
    }
