"""keep_alive values against Go's and Ollama's rules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.durations import keep_alive_seconds
from foreman.core.jsonvalue import CONTAINER, Scalar

VALID: list[tuple[Scalar, float]] = [
    (0, 0.0),
    (0.0, 0.0),
    (-0.0, 0.0),
    (1e-12, 0.0),
    (300, 300.0),
    (1.5, 1.5),
    (-1, math.inf),
    (-0.001, math.inf),
    (10**10, math.inf),
    (2**64 - 1, math.inf),
    (1e300, math.inf),
    (-1e300, math.inf),
    ("0", 0.0),
    ("+0", 0.0),
    ("-0", 0.0),
    ("0s", 0.0),
    ("-0s", 0.0),
    ("0m", 0.0),
    ("0h0m", 0.0),
    ("0.0000000001s", 0.0),
    ("10m", 600.0),
    ("1h30m", 5400.0),
    ("5m0s", 300.0),
    ("1.5h", 5400.0),
    ("1.s", 1.0),
    (".5s", 0.5),
    ("1ms2us", 0.001002),
    ("3\u00b5s", 3e-6),
    ("3\u03bcs", 3e-6),
    ("+5m", 300.0),
    ("-1m", math.inf),
    ("-1ns", math.inf),
    ("2562047h47m16.854775807s", 9223372036.854776),
]


@pytest.mark.parametrize(("value", "seconds"), VALID)
def test_what_ollama_accepts(value: Scalar, seconds: float) -> None:
    assert keep_alive_seconds(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        CONTAINER,
        math.inf,
        "",
        "-",
        "300",
        "-1",
        "s",
        ".s",
        "1x",
        "5 m",
        " 5m",
        "5M",
        "1h-5m",
        "--1m",
        "1e3s",
        "\u0665m",
        "2562048h",
        "9" * 500 + "s",
        "9" * 5000 + "s",
    ],
)
def test_what_ollama_refuses(value: Scalar) -> None:
    assert keep_alive_seconds(value) is None


@given(st.integers(0, 1000), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    assert keep_alive_seconds(f"{hours}h{minutes}m{seconds}s") == keep_alive_seconds(total) == total
