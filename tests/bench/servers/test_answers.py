import json

import pytest

from bench.servers.answers import STAMP, WORDINGS, Ask, response, template
from bench.servers.shown import SHOWN
from foreman.core.inventory import Inventory, runners_of


def test_a_request_tells_in_its_prompt_how_to_be_answered() -> None:
    ask = Ask(first_ms=5, chunks=200, gap_ms=1, size=32)
    assert Ask.found_in(b'{"prompt":"%s xxx"}' % ask.prompt.encode()) == ask
    assert Ask.found_in(b'{"prompt":"[stub 1 2]"}') is None
    assert Ask.found_in(b'{"model":"bench"}') is None


@pytest.mark.parametrize(
    ("path", "body", "streamed"),
    [
        ("/api/chat", b"{}", True),
        ("/api/chat", b'{"stream":false}', False),
        ("/api/generate", b'{"stream":true}', True),
        ("/v1/chat/completions", b"{}", False),
        ("/v1/chat/completions", b'{"stream":true}', True),
        ("/api/embed", b'{"stream":true}', False),
    ],
)
def test_each_api_streams_when_ollama_does(path: str, body: bytes, streamed: bool) -> None:
    assert WORDINGS[path].streamed(body) is streamed


@pytest.mark.parametrize("path", WORDINGS)
def test_whole_answers_are_json_with_their_length_and_the_clocks(path: str) -> None:
    head, _, body = (template(path, 8).whole % (12, 345)).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    json.loads(body)
    assert STAMP.findall(body) == [(b"%019d" % 12, b"%019d" % 345)]


@pytest.mark.parametrize("path", [path for path, wording in WORDINGS.items() if wording.chunk])
def test_chunks_and_ends_are_framed_and_hold_the_clocks(path: str) -> None:
    form = template(path, 8)
    for part, end in ((form.chunk, b"\r\n"), (form.end, b"\r\n0\r\n\r\n")):
        size, _, rest = (part % (12, 345)).partition(b"\r\n")
        text, tail = rest[: int(size, 16)], rest[int(size, 16) :]
        assert tail == end
        assert len(STAMP.findall(text)) == 1
        for line in text.decode().split():
            if line.startswith("{"):
                json.loads(line)


def test_what_the_stub_shows_is_what_foreman_reads() -> None:
    models = Inventory.of(SHOWN["/api/tags"].encode()).models
    assert len(models) == len(runners_of(SHOWN["/api/ps"].encode())) == 2
    assert response("{}", "200 OK").endswith(b"Content-Length: 2\r\n\r\n{}")
