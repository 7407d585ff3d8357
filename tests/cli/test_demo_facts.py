"""What follows from the evidence of a demo."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.cli.demo_facts import Evidence, Row, broken, fifo_loads, number_in, prompt, summary

OPEN = (Row(1, "a", "done", "m"), Row(2, "b", "working", "n"), Row(3, "c", "queued", "m"))
DONE = tuple(
    Row(number, id_, "done", key, f"sum {number}") for number, id_, key in zip((1, 2, 3), "abc", "mnm", strict=True)
)
GOOD = Evidence(
    chats=3,
    load_seconds=2.0,
    at_kill=OPEN,
    after_restart=OPEN,
    at_end=DONE,
    loads=2,
    most_at_once=1,
    sent={1: frozenset({"sum 1"}), 2: frozenset({"a first try", "sum 2"}), 3: frozenset({"sum 3"})},
    cut_clients=2,
)


def test_nothing_is_broken_when_all_held() -> None:
    assert broken(GOOD) == []
    assert dict(summary(GOOD)) == {
        "jobs accepted": "3",
        "jobs done": "3",
        "jobs lost": "0",
        "answers kept whole, byte for byte": "3",
        "kills survived": "1",
        "clients cut off by the kill": "2",
        "most jobs at the target at once": "1",
        "model loads paid": "2",
        "model loads plain FIFO would have paid": "3",
        "seconds saved, at 2 s a load": "2",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"chats": 4}, "3 of 4 chats became jobs"),
        ({"after_restart": OPEN[:2]}, "jobs were missing from the database after the restart"),
        ({"at_kill": DONE, "after_restart": DONE}, "the kill came too late: no job was open any more"),
        ({"cut_clients": 0}, "the kill cut no client off"),
        ({"at_end": (*DONE[:2], OPEN[2])}, "1 accepted jobs were not done at the end"),
        ({"at_end": DONE[:2]}, "1 accepted jobs were not done at the end"),
        (
            {"at_end": (*DONE[:2], dataclasses.replace(DONE[2], answer="other"))},
            "1 kept answers differ from what the target sent",
        ),
        ({"most_at_once": 2}, "the target worked on 2 jobs at once"),
        ({"loads": 3}, "3 model loads were paid where one for each model would do"),
    ],
)
def test_what_did_not_hold_is_said(changes: dict[str, object], sentence: str) -> None:
    assert broken(dataclasses.replace(GOOD, **changes)) == [sentence]  # type: ignore[arg-type]


@pytest.mark.parametrize(("arrivals", "loads"), [("", 0), ("a", 1), ("aaa", 1), ("abab", 4), ("aabba", 3)])
def test_plain_fifo_loads_at_every_change_of_model(arrivals: str, loads: int) -> None:
    assert fifo_loads(arrivals) == loads


@given(st.text(alphabet="abc", max_size=20))
def test_fifo_pays_at_least_one_load_a_model_and_at_most_one_a_job(arrivals: str) -> None:
    assert len(set(arrivals)) <= fifo_loads(arrivals) <= len(arrivals)


@given(st.integers(min_value=0))
def test_a_chat_is_known_again_by_its_prompt(number: int) -> None:
    assert number_in(b'{"messages":[{"content":"' + prompt(number).encode() + b'"}]}') == number


def test_other_requests_are_no_chats() -> None:
    assert number_in(b'{"model":"m"}') is None
