"""Bodies of /api/generate, /api/chat, /api/embed and /api/embeddings."""

from collections.abc import Iterator
from typing import Any, Final

from foreman.testing.answers.answer import CREATED_AT, Answer, gin, ndjson
from foreman.testing.answers.vectors import vector
from foreman.testing.gojson import Fields, Refusal
from foreman.testing.reply import Reply

Line = dict[str, Any]

_TOKEN_NS: Final = 10_000_000
_LOAD_NS: Final = 1_000_000


def generate(fields: Fields, reply: Reply) -> Answer:
    if fields.get("stream") is not False:
        return ndjson(_generate_lines(fields, reply))
    line = _base(fields) | {"response": "".join(reply.text())} | _thought("".join(reply.thoughts()))
    return gin(line | _last(reply) | {"context": [1, 2, 3]}, work=reply.tokens)


def _generate_lines(fields: Fields, reply: Reply) -> Iterator[Line]:
    base = _base(fields)
    for thought in reply.thoughts():
        yield base | {"response": "", "thinking": thought, "done": False}
    for token in reply.text():
        yield base | {"response": token, "done": False}
    yield base | {"response": ""} | _last(reply) | {"context": [1, 2, 3]}


def chat(fields: Fields, reply: Reply) -> Answer:
    if fields.get("stream") is not False:
        return ndjson(_chat_lines(fields, reply))
    message = _message("".join(reply.text())) | _thought("".join(reply.thoughts())) | _tool_calls(reply)
    return gin(_base(fields) | {"message": message} | _last(reply), work=reply.tokens)


def _chat_lines(fields: Fields, reply: Reply) -> Iterator[Line]:
    base = _base(fields)
    for thought in reply.thoughts():
        yield base | {"message": _message("") | {"thinking": thought}, "done": False}
    for token in reply.text():
        yield base | {"message": _message(token), "done": False}
    if reply.calls:
        yield base | {"message": _message("") | _tool_calls(reply), "done": False}
    yield base | {"message": _message("")} | _last(reply)


def loaded(fields: Fields, *, chat: bool, reason: str) -> Answer:
    """The one object that answers a load or unload request, also when a stream was asked for."""
    said: Line = {"message": _message("")} if chat else {"response": ""}
    return gin(_base(fields) | said | {"done": True, "done_reason": reason})


def embed(fields: Fields) -> Answer:
    """Raises Refusal(400) on an item that is no text."""
    wanted = fields.get("input")
    texts = [wanted] if isinstance(wanted, str) else wanted or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "invalid input type")
    if not any(texts):
        return gin({"model": fields["model"], "embeddings": []})
    rows = [vector(text, fields.get("dimensions")) for text in texts]
    counted = sum(len(text.split()) for text in texts)
    timing = {"total_duration": _TOKEN_NS, "load_duration": _LOAD_NS, "prompt_eval_count": counted}
    return gin({"model": fields["model"], "embeddings": rows} | timing)


def embeddings(fields: Fields) -> Answer:
    prompt = fields.get("prompt")
    return gin({"embedding": vector(prompt) if isinstance(prompt, str) and prompt else []})


def _base(fields: Fields) -> Line:
    return {"model": fields["model"], "created_at": CREATED_AT}


def _message(content: str) -> Line:
    return {"role": "assistant", "content": content}


def _thought(text: str) -> Line:
    return {"thinking": text} if text else {}


def _tool_calls(reply: Reply) -> Line:
    if not reply.calls:
        return {}
    calls = [
        {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
        for index, call in enumerate(reply.calls)
    ]
    return {"tool_calls": calls}


def _last(reply: Reply) -> Line:
    spoken = max(1, reply.tokens + reply.thinking)
    prompt_ns, eval_ns = reply.prompt_tokens * 1_000_000, spoken * _TOKEN_NS
    return {
        "done": True,
        "done_reason": reply.done_reason,
        "total_duration": _LOAD_NS + prompt_ns + eval_ns,
        "load_duration": _LOAD_NS,
        "prompt_eval_count": reply.prompt_tokens,
        "prompt_eval_duration": prompt_ns,
        "eval_count": spoken,
        "eval_duration": eval_ns,
    }
