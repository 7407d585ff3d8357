"""Each look at the target: good, bad and unknown."""

from typing import Any

import pytest

from foreman.core import target_looks
from foreman.core.findings import Level, Loaded, Server
from tests.core.test_diagnosis import BAD, NOTE, OK, facts, seen, words

RIGHT = {
    "OLLAMA_HOST": "127.0.0.1:11434",
    "OLLAMA_MAX_LOADED_MODELS": "2",
    "OLLAMA_NUM_PARALLEL": "1",
    "OLLAMA_CONTEXT_LENGTH": "8192",
    "OLLAMA_KEEP_ALIVE": "30m",
}


def served(changed: dict[str, str], container: bool = False) -> Server:
    return Server({**RIGHT, **{f"OLLAMA_{name}": value for name, value in changed.items()}}, "me", container)


@pytest.mark.parametrize(
    ("more", "level", "told"),
    [
        ({}, OK, "Ollama 0.12.0 answers"),
        ({"target_error": "Connection refused"}, BAD, "Connection refused; start Ollama"),
        ({"target_is_foreman": True}, BAD, "is a foreman"),
        ({"target_version": "0.9.6"}, BAD, "update it to 0.10.0"),
        ({"target_version": "0.10.0-rc1"}, OK, "0.10.0-rc1"),
        ({"target_version": None}, NOTE, "tells no version"),
    ],
)
def test_whether_it_answers(more: dict[str, Any], level: Level, told: str) -> None:
    assert seen(target_looks.target, **more) == [level]
    assert told in words(target_looks.target, **more)


@pytest.mark.parametrize(
    ("changed", "level", "told"),
    [
        ({}, OK, "as recommended"),
        ({"NUM_PARALLEL": "4"}, NOTE, "OLLAMA_NUM_PARALLEL=4"),
        ({"NUM_PARALLEL": ""}, OK, ""),
        ({"MAX_LOADED_MODELS": "1"}, NOTE, "each embedding unloads"),
        ({"MAX_LOADED_MODELS": ""}, NOTE, "three or more"),
        ({"MAX_LOADED_MODELS": "3"}, OK, ""),
        ({"CONTEXT_LENGTH": ""}, NOTE, "262144"),
        ({"KEEP_ALIVE": "0"}, NOTE, "OLLAMA_KEEP_ALIVE=0"),
        ({"KEEP_ALIVE": "-1"}, OK, ""),
        ({"HOST": "0.0.0.0"}, BAD, "the whole network"),
        ({"HOST": "http://0.0.0.0:11434"}, BAD, "the whole network"),
        ({"HOST": "[::]:11434"}, BAD, "the whole network"),
        ({"HOST": "localhost"}, OK, ""),
    ],
)
def test_what_it_was_started_with(changed: dict[str, str], level: Level, told: str) -> None:
    assert seen(target_looks.settings, server=served(changed)) == [level]
    assert told in words(target_looks.settings, server=served(changed))


def test_a_container_must_listen_everywhere() -> None:
    assert seen(target_looks.settings, server=served({"HOST": "0.0.0.0"}, container=True)) == [OK]


def test_where_ollama_chooses_what_is_unloaded_more_models_are_right() -> None:
    assert seen(target_looks.settings, server=served({"MAX_LOADED_MODELS": ""}), swap="target") == [OK]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"target_here": False, "server": served({})}, "on another machine"),
        ({"server": None}, "perhaps a container"),
        ({"server": Server(None, "ollama")}, "belongs to ollama; sudo foreman doctor"),
        ({"server": Server(None, "root", container=True)}, "in a container; docker exec"),
    ],
)
def test_settings_that_cannot_be_seen_are_not_taken_for_good_ones(more: dict[str, Any], told: str) -> None:
    assert seen(target_looks.settings, **more) == [NOTE]
    assert told in words(target_looks.settings, **more)


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (Loaded("m", 10 * 10**9, 10 * 10**9, 8192), None),
        (Loaded("m"), None),
        (Loaded("m", 10 * 10**9, 0, 8192), None),  # no graphics card at all
        (Loaded("m", 10 * 10**9, 6 * 10**9, 8192), "4 GB of m do not fit"),
        (Loaded("m", None, None, 262_144), "a context of 262144"),
    ],
)
def test_what_is_loaded(one: Loaded, told: str | None) -> None:
    found = list(target_looks.loaded(facts(loaded=[one])))
    assert [told in entry.said for entry in found if told] == ([True] if told else [])
    assert len(found) == (told is not None)


def test_who_goes_past_foreman() -> None:
    assert seen(target_looks.clients) == [OK]
    assert seen(target_looks.clients, strangers=None) == [NOTE]
    assert seen(target_looks.clients, strangers=["curl (3)", "n8n (4)"]) == [BAD, BAD]
    assert words(target_looks.clients, strangers=["curl (3)"]).startswith("curl (3) is connected to the target past")
    assert seen(target_looks.clients, strangers=["curl (3)"], target_here=False) == []


@pytest.mark.parametrize(("off", "levels"), [(None, []), (0.0, [OK]), (5.0, [OK]), (-5.5, [BAD]), (90.0, [BAD])])
def test_the_clocks(off: float | None, levels: list[Level]) -> None:
    assert seen(target_looks.clock, clock_off=off) == levels


@pytest.mark.parametrize("look", [target_looks.settings, target_looks.loaded, target_looks.clients, target_looks.clock])
@pytest.mark.parametrize("more", [{"target_error": "down"}, {"target_is_foreman": True}])
def test_of_what_is_no_ollama_nothing_else_is_told(look: Any, more: dict[str, Any]) -> None:
    assert seen(look, **more) == []


@pytest.mark.parametrize(
    ("version", "parts"),
    [("0.12.0", (0, 12, 0)), ("v1.2", (1, 2)), ("0.10.0-rc1", (0, 10, 0)), ("next", ()), ("", ())],
)
def test_a_version_in_numbers(version: str, parts: tuple[int, ...]) -> None:
    assert target_looks.numbers(version) == parts
