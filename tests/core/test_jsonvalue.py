"""Values, compared with the parser of the standard library where it has an opinion."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.jsonvalue import CONTAINER, Scalar, scalar, text


@given(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_and_words(value: Scalar) -> None:
    found = scalar(json.dumps(value).encode())
    assert found == value
    assert type(found) is type(value)


@given(st.text(), st.booleans())
def test_strings(value: str, ascii_only: bool) -> None:
    assert text(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"[1]", CONTAINER),
        (b"{}", CONTAINER),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1e999", math.inf),
        (b"-1e999", -math.inf),
        (b"1E2", 100.0),
        (b"1" * 5000, math.inf),
        (b'"\xff\xfe"', "\ufffd\ufffd"),
        (b'"\xf0\x9f\x98"', "\ufffd\ufffd\ufffd"),
        (b'"\\udc00\\ud800"', "\ufffd\ufffd"),
        (b'"\\ud800\xed\xb0\x80"', "\ufffd\ufffd\ufffd\ufffd"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\\/\\u002F"', "//"),
    ],
)
def test_what_go_makes_of_odd_tokens(token: bytes, value: Scalar) -> None:
    assert scalar(token) == value
