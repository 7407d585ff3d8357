from collections import Counter
from dataclasses import replace

import pytest

from bench.figures.tables import as_text
from bench.soak.figures import MIB, Reading, Soaked, faults, told, trends

STEADY = Reading(at=0.0, memory=50 * MIB, descriptors=40, threads=7, log=8 * MIB, database=20 * MIB)


def soaked(*readings: Reading) -> Soaked:
    return Soaked(Counter({("chat", "answered"): 3, ("chat", "cut off"): 1}), list(readings))


def grown(**fields: int) -> list[Reading]:
    return [STEADY] * 10 + [replace(STEADY, **fields)] * 20


def test_what_stays_as_it_was_is_well() -> None:
    assert faults(soaked(*[STEADY] * 30)) == []


def test_what_comes_and_goes_is_well() -> None:
    assert faults(soaked(*[STEADY, replace(STEADY, descriptors=70, log=60 * MIB), STEADY] * 10)) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"memory": 90 * MIB}, "memory grew from 50.0 to 90.0 MiB; the bar is 71.0"),
        ({"descriptors": 57}, "descriptors grew from 40.0 to 57.0; the bar is 56.0"),
        ({"threads": 9}, "threads grew from 7.0 to 9.0; the bar is 8.0"),
        ({"log": 32 * MIB}, "write-ahead log grew from 8.0 to 32.0 MiB; the bar is 24.0"),
    ],
)
def test_what_grows_is_told(fields: dict[str, int], said: str) -> None:
    assert faults(soaked(*grown(**fields))) == [said]
    assert "GROWS" in as_text(told(soaked(*grown(**fields))))


def test_too_few_readings_say_nothing_and_that_is_told() -> None:
    assert trends([STEADY] * 2) == []
    assert faults(soaked(STEADY)) == ["the watched process was read too seldom to say anything"]


def test_a_soak_without_an_answer_is_none() -> None:
    assert faults(Soaked(readings=[STEADY] * 30)) == ["no request was answered"]


def test_what_went_wrong_elsewhere_is_told_too() -> None:
    assert faults(replace(soaked(*[STEADY] * 30), wrong=["3 jobs had not ended"])) == ["3 jobs had not ended"]


def test_the_requests_stand_in_a_table_by_how_they_ended() -> None:
    lines = as_text(told(soaked(*[STEADY] * 30))).splitlines()
    assert lines[1] == "4 requests in 0 s; no restarts"
    assert [line.split() for line in lines[2:4]] == [["request", "answered", "cut", "off"], ["chat", "3", "1"]]
