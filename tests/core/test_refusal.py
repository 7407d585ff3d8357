"""What an error answer says, in whichever shape it comes."""

import orjson
import pytest

from foreman.core.job import Surface
from foreman.core.refusal import Refusal


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":"model is required"}', "model is required"),
        (b'{"error":{"message":"no such model","type":"not_found_error"}}', "no such model"),
        (b'{"type":"error","error":{"type":"api_error","message":"overloaded"}}', "overloaded"),
        (b'{"error":{"code":400}}', '{"error":{"code":400}}'),
        (b'["error"]', '["error"]'),
        (b"<html>\xff bad gateway</html>", "<html>� bad gateway</html>"),
        (b"", "the target answered with status 500"),
        (b'{"error":""}', "the target answered with status 500"),
        (b" \n", "the target answered with status 500"),
        (b'{"error":"' + b"x" * 900 + b'"}', "x" * 500),
        (b"y" * 900, "y" * 500),
    ],
)
def test_the_words_of_an_error(body: bytes, text: str) -> None:
    assert Refusal(500, (), body).text == text


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("Fri, 01 Jan 2027 00:00:00 GMT", None)],
)
def test_when_to_come_back(header: str, seconds: float | None) -> None:
    assert Refusal(503, (("retry-after", header),), b"").retry_after == seconds
    assert Refusal(503, (), b"").retry_after is None


def test_foremans_own_request_is_told_in_the_words_of_the_callers_api() -> None:
    refusal = Refusal(500, (("content-type", "application/json; charset=utf-8"),), b'{"error":"out of memory"}')
    assert refusal.on(Surface.OLLAMA, "id") is refusal
    for surface in (Surface.OPENAI, Surface.ANTHROPIC):
        told = refusal.on(surface, "id")
        assert (told.status, told.headers) == (500, (("content-type", "application/json"),))
        assert orjson.loads(told.body)["error"]["message"] == told.text == "out of memory"
