"""Facts of Ollama's API: load keys, loads and unloads, whose keep_alive counts, and the words of errors."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import ollama
from foreman.core.body import RequestBody, read
from foreman.core.framing import Framing, VerdictKind, Watch
from foreman.core.job import LoadKey, Surface
from foreman.core.jsonvalue import CONTAINER, Scalar
from foreman.core.names import parse
from foreman.core.ollama import KeepAlivePolicy, client_keep_alive, error_body, late_error

GENERATE, CHAT, V1 = "/api/generate", "/api/chat", "/v1/chat/completions"


def body_of(**fields: Any) -> RequestBody:
    found = read(orjson.dumps({"model": "m", **fields}))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "m:latest"),
        ({"temperature": 1, "stop": ["a"], "NUM_CTX": 5}, "m:latest"),
        ({"num_ctx": 8192}, "m:latest?num_ctx=8192"),
        ({"num_ctx": 8192.9, "num_batch": 512.0}, "m:latest?num_batch=512&num_ctx=8192"),
        ({"use_mmap": False, "main_gpu": 0, "num_thread": 4}, "m:latest?main_gpu=0&num_thread=4&use_mmap=false"),
        ({"num_gpu": 0, "draft_num_predict": 2}, "m:latest?draft_num_predict=2&num_gpu=0"),
        ({"num_gpu": -1}, "m:latest"),
        ({"num_gpu": -0.5}, "m:latest?num_gpu=0"),
        ({"num_ctx": None, "use_mmap": None}, "m:latest"),
        ({"num_ctx": "8192", "use_mmap": 1, "num_gpu": True, "num_batch": [1]}, "m:latest"),
        ({"num_ctx": 1e300, "num_batch": 2**63}, "m:latest"),
    ],
)
def test_the_load_key_holds_what_makes_ollama_reload(options: dict[str, Any], key: str) -> None:
    body = body_of(options=options)
    for path in (GENERATE, CHAT, "/api/embed"):
        assert str(ollama.load_key(parse("M"), path, body)) == key
        assert LoadKey.parse(key) == ollama.load_key("m:latest", path, body)
    assert ollama.load_key(parse("m"), V1, body) == LoadKey("m:latest")


def test_an_infinite_option_is_none() -> None:
    body = read(b'{"model":"m","options":{"num_ctx":1e999}}')
    assert body is not None
    assert ollama.load_options(CHAT, body) == ()


@pytest.mark.parametrize(
    ("path", "shift", "options"),
    [
        (CHAT, False, (("num_ctx", 4), ("shift", False))),
        (GENERATE, False, (("num_ctx", 4), ("shift", False))),
        (CHAT, True, (("num_ctx", 4),)),
        (CHAT, None, (("num_ctx", 4),)),
        ("/api/embed", False, (("num_ctx", 4),)),
        (V1, False, ()),
    ],
)
def test_shift_is_a_load_option_of_its_own(path: str, shift: bool | None, options: tuple[tuple[str, int], ...]) -> None:
    assert ollama.load_options(path, body_of(shift=shift, options={"num_ctx": 4})) == options


@pytest.mark.parametrize("key", ["m:latest", "m:latest?num_ctx=8192&use_mmap=false", "m:latest?num_gpu=0&shift=false"])
def test_the_load_request_asks_for_just_its_key(key: str) -> None:
    sent = ollama.load_body(LoadKey.parse(key), "30m")
    body = read(sent)
    assert body is not None
    assert str(ollama.load_key(parse(body.model), GENERATE, body)) == key
    assert ollama.is_load(GENERATE, body)
    assert body.keep_alive == "30m"
    assert orjson.loads(sent).get("options") != {}


EMPTY: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {}),
    (GENERATE, {"prompt": ""}),
    (GENERATE, {"prompt": "", "suffix": "x", "system": "y", "images": ["AA"]}),
    (GENERATE, {"messages": [{"role": "user"}]}),
    (CHAT, {}),
    (CHAT, {"messages": []}),
    (CHAT, {"messages": None}),
    (CHAT, {"prompt": "hi"}),
]
WORK: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {"prompt": "hi"}),
    (CHAT, {"messages": [{}]}),
    (V1, {}),
    ("/v1/completions", {"prompt": ""}),
    ("/api/embed", {}),
    ("/api/embeddings", {"prompt": ""}),
]


@pytest.mark.parametrize(("path", "fields"), EMPTY)
@pytest.mark.parametrize("keep_alive", [None, "5m", -1, "-1", "0x", True, [0]])
def test_an_empty_request_is_a_load(path: str, fields: dict[str, Any], keep_alive: Any) -> None:
    body = body_of(**fields, keep_alive=keep_alive)
    assert (ollama.is_load(path, body), ollama.is_unload(path, body)) == (True, False)


@pytest.mark.parametrize(("path", "fields"), EMPTY)
@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "0m", "-0h", 1e-10])
def test_an_empty_request_with_no_keep_alive_is_an_unload(path: str, fields: dict[str, Any], keep_alive: Any) -> None:
    body = body_of(**fields, keep_alive=keep_alive)
    assert (ollama.is_load(path, body), ollama.is_unload(path, body)) == (False, True)


@pytest.mark.parametrize(("path", "fields"), WORK)
@pytest.mark.parametrize("keep_alive", [None, 0, "0s"])
def test_work_is_neither(path: str, fields: dict[str, Any], keep_alive: Any) -> None:
    body = body_of(**fields, keep_alive=keep_alive)
    assert not ollama.is_load(path, body)
    assert not ollama.is_unload(path, body)


@pytest.mark.parametrize(
    ("policy", "value", "pin", "replaced"),
    [
        ("own", -1, "30m", "30m"),
        ("own", 0, "30m", "30m"),
        ("own", "junk", "30m", "30m"),
        ("own", CONTAINER, "30m", "30m"),
        ("own", None, "30m", None),
        ("respect", -1, "30m", None),
        ("clamp", None, "30m", None),
        ("clamp", -1, "30m", "30m"),
        ("clamp", "-1m", "30m", "30m"),
        ("clamp", "31m", "30m", "30m"),
        ("clamp", 1801, "30m", "30m"),
        ("clamp", 1800, "30m", None),
        ("clamp", "5m", "30m", None),
        ("clamp", 0, "30m", None),
        ("clamp", "300", "30m", None),
        ("clamp", False, "30m", None),
        ("clamp", -1, "-1m", None),
        ("clamp", "9h", "-1m", None),
    ],
)
def test_whose_keep_alive_counts(policy: KeepAlivePolicy, value: Scalar, pin: str, replaced: str | None) -> None:
    assert client_keep_alive(policy, value, pin) == replaced


@pytest.mark.parametrize(
    ("path", "model", "text"),
    [
        (CHAT, "Nope", "model 'Nope' not found"),
        (GENERATE, "nope:7b", "model 'nope:7b' not found"),
        (V1, "nope", "model 'nope' not found"),
        ("/v1/messages", "nope", "model 'nope' not found"),
        ("/api/embed", "nope", 'model "nope" not found, try pulling it first'),
        ("/api/embeddings", "nope", 'model "nope" not found, try pulling it first'),
        ("/v1/embeddings", "nope", 'model "nope" not found, try pulling it first'),
        ("/api/show", "nope", "model 'nope:latest' not found"),
        ("/v1/models/library/nope", "library/nope", "model 'nope:latest' not found"),
        ("/v1/models/a b", "a b", "model 'a b' not found"),
    ],
)
def test_what_is_said_of_a_missing_model(path: str, model: str, text: str) -> None:
    assert ollama.missing_model(path, model) == text


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/api/chat", "/api/chat"),
        ("/api/chat?x=/../1", "/api/chat"),
        ("//api//chat/", "/api/chat"),
        ("///api/chat", "/api/chat"),
        ("/api/./tags/../chat", "/api/chat"),
        ("/../api/chat", "/api/chat"),
        ("/api%2Fchat", "/api/chat"),
        ("/%61pi/ch%61t", "/api/chat"),
        ("/api/%2e%2e/api/chat", "/api/chat"),
        ("http://host:1/api/chat?q", "/api/chat"),
        ("http://host", "/"),
        ("/api/CHAT", "/api/CHAT"),
        ("/api/chat%3Fx", "/api/chat?x"),
        ("/", "/"),
        ("", "/"),
        ("*", "/*"),
    ],
)
def test_paths_are_cleaned_as_ollama_does(raw: str, path: str) -> None:
    assert ollama.clean_path(raw) == path


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (403, "api_error"), (503, "api_error")],
)
def test_an_openai_error(status: int, kind: str) -> None:
    body = error_body(Surface.OPENAI, status, 'a "b"')
    assert body.endswith(b"}\n")
    assert orjson.loads(body) == {"error": {"message": 'a "b"', "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (502, "api_error"),
    ],
)
def test_an_anthropic_error(status: int, kind: str) -> None:
    error = orjson.loads(error_body(Surface.ANTHROPIC, status, "a", "7"))
    assert error == {"type": "error", "error": {"type": kind, "message": "a"}, "request_id": "req_7"}


def test_an_ollama_error_is_a_string() -> None:
    assert error_body(Surface.OLLAMA, 404, "a") == b'{"error":"a"}'


NDJSON_ERROR = b'{"error":"lost","job":"J"}\n'
SSE_ERROR = b'data: {"error":{"message":"lost","type":"upstream_error","param":null,"code":"truncated","job":"J"}}\n\n'


@pytest.mark.parametrize(
    ("framing", "tail", "written"),
    [
        (Framing.NDJSON, b"", NDJSON_ERROR),
        (Framing.NDJSON, b'{"a":1}\n', NDJSON_ERROR),
        (Framing.NDJSON, b'{"a":1}\n{"b', b"\n" + NDJSON_ERROR),
        (Framing.SSE, b"", SSE_ERROR),
        (Framing.SSE, b"data: x\n\n", SSE_ERROR),
        (Framing.SSE, b"data: x\r\n\r\n", SSE_ERROR),
        (Framing.SSE, b"data: x\n", b"\n" + SSE_ERROR),
        (Framing.SSE, b"data: x", b"\n\n" + SSE_ERROR),
        (Framing.WHOLE, b'{"a":', b""),
    ],
)
def test_a_late_error_stands_alone(framing: Framing, tail: bytes, written: bytes) -> None:
    assert late_error(framing, Surface.OPENAI, "lost", "truncated", "J", tail) == written


@pytest.mark.parametrize("surface", Surface)
def test_a_whole_answer_that_has_not_begun_becomes_an_error(surface: Surface) -> None:
    body = orjson.loads(late_error(Framing.WHOLE, surface, "lost", "truncated", "J", b""))
    assert body["error"] == "lost" if surface is Surface.OLLAMA else body["error"]["message"] == "lost"


PATHS = {Surface.OLLAMA: "/api/chat", Surface.OPENAI: "/v1/responses", Surface.ANTHROPIC: "/v1/messages"}


@given(st.sampled_from([*PATHS.items(), (Surface.OPENAI, V1)]), st.integers(0, 200))
def test_whoever_reads_to_the_end_sees_the_failure(case: tuple[Surface, str], cut: int) -> None:
    surface, path = case
    framing = Framing.NDJSON if surface is Surface.OLLAMA else Framing.SSE
    line = b'{"done":false}\n' if surface is Surface.OLLAMA else b'event: x\r\ndata: {"type":"x"}\r\n\r\n'
    sent = (line * 7)[:cut]
    watch = Watch(framing, path)
    watch.feed(sent + late_error(framing, surface, "lost", "truncated", "J", sent))
    verdict = watch.verdict(True)
    assert (verdict.kind, verdict.message) == (VerdictKind.FAILED, "lost")
