"""What a request for a create asks."""

import pytest

from foreman.core import creates
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model":"mine","from":"llama3"}', "mine", True),
        (b'{"name":"mine","modelfile":"FROM llama3"}', "mine", True),
        (b'{"model":"","name":"mine","stream":false}', "mine", False),
        (b'{"MODEL":"mine","files":{"a.gguf":"sha256:0"},"stream":null}', "mine", True),
        (b'{"model":"a","model":"mine","quantize":"q4_K_M","parameters":{"model":"x"}}', "mine", True),
    ],
)
def test_the_name_is_understood_and_the_body_stays(body: bytes, model: str, stream: bool) -> None:
    asked = creates.read(body)
    assert asked is not None
    assert (asked.model, asked.stream) == (model, stream)
    assert asked.key == LoadKey("create mine:latest")
    assert asked.body is asked.identity is body


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no", b"[]", b"{}", b'{"model":""}', b'{"model":"a"', b'{"name":null}'),
        *(b'{"model":1}', b'{"model":"a","stream":"no"}', b'{"model":"a","from":["b"]}'),
    ],
)
def test_what_the_target_would_refuse_is_none(body: bytes) -> None:
    assert creates.read(body) is None


@pytest.mark.parametrize(
    ("body", "once"),
    [
        (b'{"model":"mine","from":"mine"}', True),
        (b'{"model":"mine","from":"library/MINE:latest"}', True),
        (b'{"model":"mine","from":"llama3"}', False),
        (b'{"model":"mine","from":"mine:other"}', False),
        (b'{"model":"mine","files":{}}', False),
        (b'{"model":"mine","from":"/a/path of mine"}', False),
    ],
)
def test_a_model_that_is_made_of_itself_is_made_once(body: bytes, once: bool) -> None:
    asked = creates.read(body)
    assert asked is not None
    assert asked.once is once


def test_what_is_no_name_has_no_key() -> None:
    asked = creates.read(b'{"model":"a b","from":"a b"}')
    assert asked is not None
    with pytest.raises(InvalidModelName):
        _ = asked.key
