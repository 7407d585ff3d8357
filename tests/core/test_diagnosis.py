"""Each look around foreman: what is well, what is not, and what nobody knows; whatever is not well has an advice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import diagnosis, target_looks
from foreman.core.findings import Answer, Facts, Finding, Level

OK, NOTE, BAD = Level.OK, Level.NOTE, Level.BAD
GOOD: dict[str, Any] = {
    "listen": "http://127.0.0.1:11435",
    "answer": Answer.FOREMAN,
    "health": "ok",
    "target": "http://127.0.0.1:11434",
    "target_version": "0.12.0",
    "strangers": (),
    "clock_off": 0.0,
    "database": "/db",
    "modes": {"/db": 0o600, "/db-wal": 0o600},
    "disk_folder": "/models",
    "disk_free": 50 * 10**9,
    "disk_reserve": 30 * 10**9,
    "database_free": 50 * 10**9,
    "sqlite": (3, 51, 3),
    "loop": "uvloop",
    "wanted_loop": "uvloop",
    "descriptors": 10_000,
    "max_queued": 1000,
}


def facts(**more: Any) -> Facts:
    return Facts(**{**GOOD, **more})


def seen(look: Any, **more: Any) -> list[Level]:
    return [one.level for one in look(facts(**more))]


def words(look: Any, **more: Any) -> str:
    (one,) = look(facts(**more))
    assert isinstance(one, Finding)
    return f"{one.said}; {one.advice}"


@pytest.mark.parametrize(
    ("answer", "health", "level", "told"),
    [
        (Answer.FOREMAN, "ok", OK, "serves at"),
        (Answer.FOREMAN, "degraded", BAD, "is degraded"),
        (Answer.LOCKED, "a key is needed", NOTE, "a key is needed; give a key with --api-key-file"),
        (Answer.SILENT, "", BAD, "nothing answers"),
        (Answer.STRANGER, "", BAD, "is taken by another program"),
        (Answer.NOBODY, "", NOTE, "foreman serve"),
    ],
)
def test_what_answers_where_foreman_should(answer: Answer, health: str, level: Level, told: str) -> None:
    assert seen(diagnosis.foreman, answer=answer, health=health) == [level]
    assert told in words(diagnosis.foreman, answer=answer, health=health)


@pytest.mark.parametrize(
    ("more", "levels"),
    [
        ({}, [OK]),
        ({"disk_free": 29 * 10**9}, [BAD]),
        ({"disk_free": None}, [NOTE]),
        ({"database_free": 10**6}, [OK, BAD]),
        ({"database_free": None}, [OK]),
    ],
)
def test_the_disk(more: dict[str, Any], levels: list[Level]) -> None:
    assert seen(diagnosis.disk, **more) == levels


@pytest.mark.parametrize(
    ("modes", "levels"),
    [
        ({"/db": 0o600}, [OK]),
        ({}, []),
        ({"/db": 0o644, "/db-wal": 0o640, "/db-shm": 0o600}, [BAD, BAD]),
        (None, [NOTE]),
    ],
)
def test_who_may_read_the_database(modes: Any, levels: list[Level]) -> None:
    assert seen(diagnosis.permissions, modes=modes) == levels


def test_what_is_open_is_closed_by_the_advice() -> None:
    assert words(diagnosis.permissions, modes={"/db": 0o644}).endswith("; chmod go= /db")


@pytest.mark.parametrize(("version", "level"), [((3, 51, 3), OK), ((3, 52, 0), OK), ((3, 51, 2), NOTE), ((3, 9), NOTE)])
def test_the_version_of_sqlite(version: tuple[int, ...], level: Level) -> None:
    assert seen(diagnosis.sqlite, sqlite=version) == [level]


@pytest.mark.parametrize(
    ("more", "levels"),
    [
        ({}, []),
        ({"descriptors": 1063}, [NOTE]),
        ({"descriptors": 1064}, []),
        ({"descriptors": None}, []),
        ({"loop": "asyncio"}, [NOTE]),
    ],
)
def test_limits(more: dict[str, Any], levels: list[Level]) -> None:
    assert seen(diagnosis.limits, **more) == levels


def test_what_the_gate_cannot_see() -> None:
    assert seen(diagnosis.readings) == []
    assert seen(diagnosis.readings, unknown=["memory", "load"]) == [NOTE, NOTE]


def test_where_all_is_well_nothing_is_bad() -> None:
    assert {one.level for one in diagnosis.findings(facts())} <= {OK, NOTE}
    assert [one.about for one in diagnosis.findings(facts())][:2] == ["foreman", "target"]


def test_of_a_foreman_elsewhere_only_what_it_tells_is_judged() -> None:
    found = diagnosis.findings(facts(here=False, disk_free=0, modes={"/db": 0o666}, unknown=["memory"]))
    assert [(one.about, one.level) for one in found] == [("foreman", OK), ("machine", NOTE), ("gate", NOTE)]


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "answer": st.sampled_from(Answer),
        "target_error": st.sampled_from([None, "refused"]),
        "target_version": st.sampled_from([None, "0.3.0", "1.0"]),
        "target_is_foreman": st.booleans(),
        "target_here": st.booleans(),
        "strangers": st.sampled_from([None, (), ("curl (3)",)]),
        "clock_off": st.sampled_from([None, 0.0, -60.0, 60.0]),
        "modes": st.sampled_from([None, {}, {"/db": 0o644}]),
        "disk_free": st.sampled_from([None, 0, 10**12]),
        "database_free": st.sampled_from([None, 0, 10**12]),
        "sqlite": st.sampled_from([(3, 40, 1), (3, 60)]),
        "loop": st.sampled_from(["uvloop", "asyncio"]),
        "descriptors": st.sampled_from([None, 3, 10_000]),
        "here": st.booleans(),
    },
)


@given(FACTS)
def test_what_is_not_well_has_an_advice_and_all_texts_are_short(more: dict[str, Any]) -> None:
    for one in diagnosis.findings(facts(**more)):
        assert (one.advice == "") is (one.level is OK)
        assert len(one.about) <= 12
        assert len(one.said) <= 120
        assert len(one.advice) <= 120


def test_every_look_is_made() -> None:
    assert {target_looks.target, target_looks.settings, target_looks.loaded, target_looks.clients} <= {*diagnosis.LOOKS}
    assert len(diagnosis.LOOKS) == 11
