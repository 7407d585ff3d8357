"""When two requests are one, and what may be a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.errors import BadRequest
from foreman.core.submission import KEY_LENGTH, checked_key, request_hash

REQUEST = st.tuples(st.sampled_from(["/api/chat", "/api/generate", "/v1/messages"]), st.binary(max_size=6))


@given(REQUEST, REQUEST)
def test_the_hash_is_equal_exactly_for_equal_requests(one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    assert (request_hash(*one) == request_hash(*other)) == (one == other)


def test_path_and_body_do_not_run_into_each_other() -> None:
    assert request_hash("/api/chat", b"x") != request_hash("/api/cha", b"tx")


@pytest.mark.parametrize("key", ["k", "a b", '"8e03978e-40d5"', "\u00fc", "k" * KEY_LENGTH])
def test_a_key_is_taken_as_it_is(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * (KEY_LENGTH + 1), "a\tb", "a\x00", "a\x7f", "a\nb", "\x85", "\u2028"])
def test_what_cannot_be_a_key(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        checked_key(key)
