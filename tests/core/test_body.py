"""Bodies as clients really send them, and as nobody should: each row says what Ollama makes of it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foreman.core import body as body_module
from foreman.core.body import RequestBody, read, set_keep_alive
from foreman.core.jsonvalue import CONTAINER

ACCEPTED: list[tuple[bytes, RequestBody]] = [
    (b'{"model":"m"}', RequestBody("m")),
    (b' \t\r\n{"model" : "m" }', RequestBody("m")),
    (b'{"model":"m"}{"model":"other"} and more', RequestBody("m")),
    (b'{"model":"m"}\xff\x00', RequestBody("m")),
    (b'{"Model":"m","PROMPT":"hi","Stream":false}', RequestBody("m", stream=False, has_prompt=True)),
    (b'{"\\u006dodel":"m"}', RequestBody("m")),
    ('{"model":"m","\u212aeep_alive":0,"me\u017f\u017fages":[1]}'.encode(), RequestBody("m", None, 0, {}, False, True)),
    (b'{"model":"a","model":"b"}', RequestBody("b")),
    (b'{"model":"a","MODEL":"b"}', RequestBody("b")),
    (b'{"model":"m","model":null}', RequestBody("m")),
    (b'{"model":"m","prompt":"x","prompt":null}', RequestBody("m", has_prompt=True)),
    (b'{"model":"m","prompt":"x","prompt":""}', RequestBody("m")),
    (b'{"model":"m","stream":true,"stream":null}', RequestBody("m")),
    (b'{"model":"m","shift":true,"shift":false}', RequestBody("m", shift=False)),
    (b'{"model":"m","messages":[{}],"messages":null}', RequestBody("m")),
    (b'{"model":"m","messages":[{}],"messages":[ ]}', RequestBody("m")),
    (b'{"model":"m","Messages":[\n]}', RequestBody("m")),
    (b'{"model":"m","keep_alive":0,"keep_alive":"5m"}', RequestBody("m", keep_alive="5m")),
    (b'{"model":"m","keep_alive":"5m","keep_alive":null}', RequestBody("m")),
    (b'{"Model":"m","keep_alive":[1]}', RequestBody("m", keep_alive=CONTAINER)),
    (
        b'{"model":"m","options":{"num_ctx":1,"num_gpu":2},"options":{"num_ctx":3}}',
        RequestBody("m", options={"num_ctx": 3, "num_gpu": 2}),
    ),
    (b'{"model":"m","options":{"a":1},"\\u006fptions":{"b":2}}', RequestBody("m", options={"a": 1, "b": 2})),
    (b'{"model":"m","options":{"a":1},"options":null,"options":{"b":2}}', RequestBody("m", options={"b": 2})),
    (b'{"model":"m","options":{"A":1,"a":[1],"b":{}}}', RequestBody("m", options={"A": 1, "a": (), "b": ()})),
    (b'{"model":"m","options":{"a":1e999}}', RequestBody("m", options={"a": float("inf")})),
    (b'{"model":"m","options":{"a":' + b"9" * 5000 + b"}}", RequestBody("m", options={"a": float("inf")})),
    (b'{"model":"m","options":{"a":-0.5e1}}', RequestBody("m", options={"a": -5.0})),
    (b'{"model":"m\xff"}', RequestBody("m\ufffd")),
    (b'{"model":"\xe2\x82"}', RequestBody("\ufffd\ufffd")),
    (b'{"model":"\xed\xa0\x80"}', RequestBody("\ufffd\ufffd\ufffd")),
    (b'{"model":"\\ud800x"}', RequestBody("\ufffdx")),
    (b'{"model":"\\ud83d\\ude00\\ude00"}', RequestBody("\U0001f600\ufffd")),
    (b'{"model":"\\ud83d\\ud83d\\ude00"}', RequestBody("\ufffd\U0001f600")),
    (b'{"model":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041","Prompt":""}', RequestBody('"\\/\b\f\n\r\tA')),
    (b'{"model":"m","x\xff":"\x7f"}', RequestBody("m")),
    (b'{"model":"m","deep":' + b"[" * 9999 + b"]" * 9999 + b"}", RequestBody("m")),
    (b'{"model":"m","deep":' + b'{"a":' * 9999 + b"1" + b"}" * 9999 + b"}", RequestBody("m")),
    (b'{"model":"m","format":1,"options":"none","messages":{},"prompt":5}', RequestBody("m")),
    (b'{"a":[1,"x",{},[],{"b":[null,true]}],"c":{"d":{"e":-1.5E+3}},"model":"m"}x', RequestBody("m")),
]


@pytest.mark.parametrize(("body", "expected"), ACCEPTED)
def test_a_body_ollama_accepts(body: bytes, expected: RequestBody) -> None:
    assert read(body) == expected


REFUSED = [
    b"",
    b"  ",
    b"null",
    b"[]",
    b'"model"',
    b"1",
    b"{}",
    b'{"model":""}',
    b'{"model":null}',
    b'{"model":7}',
    b'{"model":["m"]}',
    b'{"model":"m","model":""}',
    b'\xef\xbb\xbf{"model":"m"}',
    b'{"model":"m"',
    b'{"model":"m",}',
    b'{"model":"m"]',
    b'{"model" "m"}',
    b'{"model":"m" "a":1}',
    b"{'model':'m'}",
    b'{model:"m"}',
    b'{"model":"m","a":NaN}',
    b'{"model":"m","a":Infinity}',
    b'{"model":"m","a":01}',
    b'{"model":"m","a":+1}',
    b'{"model":"m","a":1.}',
    b'{"model":"m","a":.5}',
    b'{"model":"m","a":1e}',
    b'{"model":"m","a":-}',
    b'{"model":"m","a":tru}',
    b'{"model":"m","a":True}',
    b'{"model":"m","a":}',
    b'{"model":"m","a":[1,]}',
    b'{"model":"m","a":[1 2]}',
    b'{"model":"m","a":[1}',
    b'{"model":"m","a":{"b"}}',
    b'{"model":"m","a":{"b":1,}}',
    b'{"model":"m","a":{1:2}}',
    b'{"model":"m","a":"\n"}',
    b'{"model":"m","a":"\x00"}',
    b'{"model":"m","a":"\\x"}',
    b'{"model":"m","a":"\\u12g4"}',
    b'{"model":"m","a":"\\"}',
    b'{"model":"m","a":"' + b"x" * 9000,
    b'{"model":"m","a":"' + b"x" * 9000 + b'\n"}',
    b'{"model":"m","a":"' + b"\\n" * 9000 + b'\\q"}',
    b'{"model":"m"\x0b}',
    b'{"model":"m"\xc2\xa0}',
    b'{"model":"m"/*no*/}',
    b'{"model":"m","deep":' + b"[" * 10000 + b"]" * 10000 + b"}",
    b"[" * 1_000_000,
]


@pytest.mark.parametrize("body", REFUSED)
def test_a_body_ollama_refuses(body: bytes) -> None:
    assert read(body) is None


@pytest.mark.parametrize("kind", ["plain", "trailing", "escaped"])
def test_forty_megabytes_of_image(kind: str) -> None:
    image = "QUJD" * 10_000_000
    body = orjson.dumps({"model": "m", "messages": [{"images": [image]}], "keep_alive": -1})
    if kind == "trailing":
        body += b" x"
    if kind == "escaped":
        body = body.replace(b"QUJD", b"\\/\\n", 100_000) + b"x"
    found = read(body)
    assert found == RequestBody("m", keep_alive=-1, has_messages=True)
    spliced = set_keep_alive(body, "30m")
    assert spliced == body.replace(b'"keep_alive":-1', b'"keep_alive":"30m"')


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (b'{"model":"m","keep_alive" : -1 ,"x":1}', b'{"model":"m","keep_alive" : "30m" ,"x":1}'),
        (b' {"KEEP_ALIVE":"5m"} {"keep_alive":1}', b' {"KEEP_ALIVE":"30m"} {"keep_alive":1}'),
        (b'{"keep_alive":{"a":["]"]},"keep_alive":null}', b'{"keep_alive":"30m","keep_alive":"30m"}'),
        (b'{"\\u006beep_alive":"a\\"}"}\xff', b'{"\\u006beep_alive":"30m"}\xff'),
        ('{"a":"\\\\","\u212aeep_alive":1e5}'.encode(), '{"a":"\\\\","\u212aeep_alive":"30m"}'.encode()),
        (b'{"a":[{"keep_alive":1}],"keep_alive":true}', b'{"a":[{"keep_alive":1}],"keep_alive":"30m"}'),
    ],
)
def test_every_keep_alive_of_the_top_level_is_replaced(body: bytes, spliced: bytes) -> None:
    assert set_keep_alive(body, "30m") == spliced


@pytest.mark.parametrize("body", [b"{}", b'{"model":"m","options":{"keep_alive":1}}', b'{"a":"keep_alive"} '])
def test_a_body_without_keep_alive_stays_the_same_object(body: bytes) -> None:
    assert set_keep_alive(body, "30m") is body


NAMES = st.sampled_from(
    ["model", "Model", "stream", "keep_alive", "options", "Options", "prompt", "messages", "shift", "x", "\u017fhift"]
)
ATOMS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text(max_size=6)
VALUES = st.recursive(ATOMS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))
OPTIONS = st.dictionaries(st.sampled_from(["num_ctx", "num_gpu", "stop"]), VALUES, max_size=3)
MEMBERS = st.lists(st.tuples(NAMES, VALUES | OPTIONS | st.just("m")), max_size=7)


def spell(members: list[tuple[str, Any]], spaced: bool, ascii_only: bool) -> bytes:
    separators = (" , ", "\n:\t") if spaced else (",", ":")

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=separators)

    text = "{" + separators[0].join(f"{dump(k)}{separators[1]}{dump(v)}" for k, v in members) + "}"
    return text.replace("Infinity", "1e999").encode("utf-8", "surrogatepass")


@given(MEMBERS, st.booleans(), st.booleans())
@example([("model", "m"), ("prompt", "a"), ("prompt", None)], False, True)
@example([("model", "m"), ("options", {"a": 1}), ("options", {"b": 2})], False, False)
def test_both_ways_to_read_agree(members: list[tuple[str, Any]], spaced: bool, ascii_only: bool) -> None:
    body = spell(members, spaced, ascii_only)
    exact = body_module._read_exactly(body, checked=False)
    assert read(body) == exact
    assert read(body + b"]") == exact


@given(MEMBERS, st.booleans(), st.booleans())
def test_the_splice_changes_keep_alive_alone(members: list[tuple[str, Any]], spaced: bool, ascii_only: bool) -> None:
    replaced = [(name, "30m" if name == "keep_alive" else value) for name, value in members]
    assert set_keep_alive(spell(members, spaced, ascii_only), "30m") == spell(replaced, spaced, ascii_only)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,model\\u0123 ', max_size=60).map(str.encode))
def test_no_bytes_raise(body: bytes) -> None:
    found = read(body)
    assert found is None or found.model


@pytest.mark.parametrize(("body", "expected"), ACCEPTED)
def test_a_long_body_is_read_alike(monkeypatch: pytest.MonkeyPatch, body: bytes, expected: RequestBody) -> None:
    monkeypatch.setattr(body_module, "LARGE", len(body) - 1)
    assert read(body) == expected


LONG = "x" * body_module.LARGE


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (f'"prompt":"{LONG}"', RequestBody("m", has_prompt=True)),
        (f'"prompt":["{LONG}"]', RequestBody("m")),
        (f'"messages":[{{"content":"{LONG}"}}]', RequestBody("m", has_messages=True)),
        (f'"messages":{{"content":"{LONG}"}}', RequestBody("m")),
        (f'"system":"{LONG}","stream":false', RequestBody("m", stream=False)),
    ],
)
def test_what_is_long_is_seen_not_to_be_empty(member: str, expected: RequestBody) -> None:
    assert read(f'{{{member},"model":"m"}}'.encode()) == expected


def test_a_long_body_is_taken_at_its_word_below_its_top_level() -> None:
    assert read(f'{{"model":"m","messages":[tru,"{LONG}"]}}'.encode()) is not None
    for broken in (
        f'{{"model":"m","x":"{LONG}',
        f'{{"model":"m","x":"{LONG}"',
        f'{{"model":m,"x":"{LONG}"}}',
        f'"{LONG}"',
    ):
        assert read(broken.encode()) is None


@given(st.text(alphabet='{}[]":,model\\u0123 ', max_size=60).map(str.encode))
def test_no_long_bytes_raise(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_module, "LARGE", -1)
        found = read(body)
    assert found is None or found.model
