"""What is read out of an answer of any API, and the statuses that a followed job ends with."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.watch import exit_status, said


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"model":"m","message":{"role":"assistant","content":"sky"},"done":false}', "sky"),
        (b'{"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}', "hm"),
        (b'{"model":"m","response":"blue","done":false}', "blue"),
        (b'data: {"choices":[{"delta":{"content":"is"}}]}', "is"),
        (b'{"choices":[{"message":{"content":"whole"}}]}', "whole"),
        (b'data: {"choices":[{"text":"old"}]}', "old"),
        (b'data: {"type":"response.output_text.delta","delta":"new"}', "new"),
        (b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"claude"}}', "claude"),
        (b"data: [DONE]", ""),
        (b": foreman position=3", ""),
        (b"event: message_start", ""),
        (b'{"error":"out of memory"}', ""),
        (b'{"choices":[]}', ""),
        (b"{", ""),
        (b"", ""),
    ],
)
def test_the_text_of_a_line(line: bytes, text: str) -> None:
    assert said(line) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
NAMES = st.sampled_from(["message", "choices", "delta", "content", "text", "response", "thinking"])
FRAMES = st.recursive(JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)


@given(FRAMES)
def test_nothing_a_model_says_breaks_it(frame: object) -> None:
    assert isinstance(said(orjson.dumps(frame)), str)


def test_how_a_job_ended_is_the_exit_status() -> None:
    assert [exit_status(state) for state in ("done", "failed", "cancelled")] == [0, 1, 5]
