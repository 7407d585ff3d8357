"""Heartbeats: harmless to every parser, and only where there is room for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.framing import Framing
from foreman.core.padding import may_pad, pad


@pytest.mark.parametrize("framing", [Framing.NDJSON, Framing.WHOLE])
def test_json_gets_one_space_whatever_there_is_to_say(framing: Framing) -> None:
    assert pad(framing, "position=3") == b" "


@given(st.text(max_size=60))
def test_an_event_stream_gets_one_comment_whatever_the_words(words: str) -> None:
    said = pad(Framing.SSE, words)
    assert said.startswith(b": ")
    assert said.endswith(b"\n\n")
    assert b"\n" not in said[:-2]
    assert b"\r" not in said


def test_words_arrive_in_an_event_stream() -> None:
    assert pad(Framing.SSE, "position=3") == b": position=3\n\n"


ROOM = [
    (Framing.NDJSON, b"", True),
    (Framing.NDJSON, b"{}\n", True),
    (Framing.NDJSON, b'{"a', False),
    (Framing.NDJSON, b"{}", False),
    (Framing.SSE, b"", True),
    (Framing.SSE, b"data: x\n\n", True),
    (Framing.SSE, b"data: x\r\n\r\n", True),
    (Framing.SSE, b"data: x\n", False),
    (Framing.SSE, b"data: x\r\n", False),
    (Framing.SSE, b"data: x", False),
    (Framing.WHOLE, b"", True),
    (Framing.WHOLE, b"{", False),
    (Framing.WHOLE, b"{}\n", False),
]


@pytest.mark.parametrize(("framing", "tail", "room"), ROOM)
def test_there_is_room_only_between_lines_and_events(framing: Framing, tail: bytes, room: bool) -> None:
    assert may_pad(framing, tail) is room


VALUES = st.lists(st.dictionaries(st.text(max_size=3), st.integers()), min_size=1, max_size=4)


@given(VALUES, st.lists(st.integers(0, 3), max_size=6))
def test_padded_lines_read_as_if_they_were_not(values: list[dict[str, int]], before: list[int]) -> None:
    sent, tail = b"", b""
    for number, value in enumerate(values):
        for _ in range(before.count(number)):
            assert may_pad(Framing.NDJSON, tail)
            sent += pad(Framing.NDJSON, "")
        tail = json.dumps(value).encode() + b"\n"
        sent += tail
    assert [json.loads(line) for line in sent.split(b"\n")[:-1]] == values
