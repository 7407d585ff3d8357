"""Why an upstream gets fewer requests, in words."""

import pytest

from foreman.core.slowdown import UNREACHABLE, Slowdown


@pytest.mark.parametrize(
    ("cause", "until", "asked", "text"),
    [
        ("status_429", 9.0, 30.0, "far answered 429 with Retry-After 30 s and is left alone"),
        ("status_503", 9.0, None, "far answered 503 and is left alone"),
        (UNREACHABLE, 9.0, None, "far cannot be reached and is left alone"),
        ("status_429", None, 0.5, "far answered 429 with Retry-After 0.5 s and gets 1 of 4 requests at once"),
    ],
)
def test_the_words(cause: str, until: float | None, asked: float | None, text: str) -> None:
    assert Slowdown("far", cause, 1.0, until, asked, 1, 4).text == text
