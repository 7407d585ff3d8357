import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import units


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("2 GiB", 2 * 1024**3),
        ("1000000", 1_000_000),
        (1_000_000, 1_000_000),
        (" 1.5 kib ", 1536),
        ("3kB", 3000),
        ("7 mb", 7_000_000),
        ("1TiB", 1024**4),
        ("0", 0),
    ],
)
def test_sizes(value: object, size: int) -> None:
    assert units.read_bytes(value) == size


@pytest.mark.parametrize("value", ["64M", "MiB", "", "-1", "1e6", "64 MiB!", "٣", True, 1.5, None, [], "1 2"])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="2 GiB"):
        units.read_bytes(value)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1000, "1000 B"), (2**27, "128 MiB"), (30 * 10**9, "30 GB"), (10**12, "1 TB"), (3 * 2**40, "3 TiB")],
)
def test_a_size_is_shown_in_the_largest_unit_that_keeps_it_exact(size: int, shown: str) -> None:
    assert units.show_bytes(size) == shown


@pytest.mark.parametrize(("size", "words"), [(0, "0 GB"), (43 * 10**9, "43 GB"), (4_700_000_000, "4.7 GB")])
def test_sizes_in_a_sentence(size: int, words: str) -> None:
    assert units.gigabytes(size) == words


@given(st.integers(0, 2**50))
def test_a_shown_size_reads_back(size: int) -> None:
    assert units.read_bytes(units.show_bytes(size)) == size


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(30, 30), (1.5, 1.5), ("30", 30), (" 1.5", 1.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5)],
)
def test_seconds(value: object, seconds: float) -> None:
    assert units.read_seconds(value) == seconds


@pytest.mark.parametrize("value", ["abc", "", "5 m", "30sec", "1e3", "nan", "inf", math.nan, math.inf, True, None, []])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match="seconds such as"):
        units.read_seconds(value)


def test_a_number_beyond_floats_is_no_time() -> None:
    with pytest.raises(ValueError, match="seconds such as"):
        units.read_seconds(10**400)


@pytest.mark.parametrize(("value", "hours"), [(24, 24), ("24", 24), ("24h", 24), ("90m", 1.5), (0.5, 0.5)])
def test_hours(value: object, hours: float) -> None:
    assert units.read_hours(value) == hours


@pytest.mark.parametrize(("number", "shown"), [(30.0, "30"), (0.01, "0.01"), (2592000.0, "2592000"), (0, "0")])
def test_numbers_are_shown_plainly(number: float, shown: str) -> None:
    assert units.show_number(number) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("30m", "30m"),
        ("1h30m", "1h30m"),
        ("-1m", "-1m"),
        ("1.5h", "1.5h"),
        ("+5m", "+5m"),
        ("300", "300s"),
        ("-1", "-1s"),
        (300, "300s"),
        (-1, "-1s"),
        (0.5, "0.5s"),
        ("2562047h", "2562047h"),
    ],
)
def test_keep_alive(value: object, text: str) -> None:
    assert units.read_keep_alive(value) == text


@pytest.mark.parametrize(
    "value", ["", "x", "5 m", "5d", "--1m", "m", "1m-", "forever", "2562048h", True, None, [], math.inf, math.nan]
)
def test_what_is_no_keep_alive(value: object) -> None:
    with pytest.raises(ValueError, match="30m"):
        units.read_keep_alive(value)


@pytest.mark.parametrize("value", ["0", "0s", "-0m", 0, 0.0, "0h0m", "0.1ns"])
def test_a_keep_alive_of_zero_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="unload the model"):
        units.read_keep_alive(value)


@pytest.mark.parametrize(("value", "count"), [(5, 5), ("5", 5), (" 10000 ", 10_000), ("-1", -1)])
def test_counts(value: object, count: int) -> None:
    assert units.read_count(value) == count


@pytest.mark.parametrize("value", ["", "5.0", 5.0, True, "5_000", "٣", None, "9" * 5000])
def test_what_is_no_count(value: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        units.read_count(value)


@pytest.mark.parametrize(
    ("value", "on"), [(True, True), (False, False), ("true", True), ("Yes", True), ("0", False), ("off", False)]
)
def test_switches(value: object, on: bool) -> None:
    assert units.read_switch(value) is on


@pytest.mark.parametrize("value", ["", "maybe", 1, 0, None])
def test_what_is_no_switch(value: object) -> None:
    with pytest.raises(ValueError, match="true or false"):
        units.read_switch(value)


def test_a_choice_is_one_of_its_words() -> None:
    read = units.read_choice(("own", "clamp"))
    assert [read("own"), read(" Clamp ")] == ["own", "clamp"]
    for wrong in ("", "ow", "own,clamp", None, True):
        with pytest.raises(ValueError, match="one of own, clamp"):
            read(wrong)


@pytest.mark.parametrize(
    ("value", "entries"),
    [("", ()), ("a", ("a",)), (" a , b,,a ", ("a", "b")), (["a", " b"], ("a", "b")), ([], ())],
)
def test_lists(value: object, entries: tuple[str, ...]) -> None:
    assert units.read_list(value) == entries


@pytest.mark.parametrize("value", [1, None, ["a", 1], {"a": 1}])
def test_what_is_no_list(value: object) -> None:
    with pytest.raises(ValueError, match="array of texts"):
        units.read_list(value)
