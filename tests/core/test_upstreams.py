"""Which request goes to which upstream, what it is called there, and what two may not both have."""

from dataclasses import dataclass

import pytest

from foreman.core import names
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.upstreams import UPSTREAM_PATHS, Routed, conflicts, listed, named, needs_target, route, upstream_of

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Up:
    name: str
    models: tuple[str, ...] = ()


UPS = (Up("one", ("gpt-5", "o4-*")), Up("two", ("@cf/meta/llama",)))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("one/gpt-5", Routed("one", "gpt-5")),
        ("two/gpt-5", Routed("two", "gpt-5")),
        ("one/a/b:free", Routed("one", "a/b:free")),
        ("gpt-5", Routed("one", "gpt-5")),
        ("o4-mini", Routed("one", "o4-mini")),
        ("o4-", Routed("one", "o4-")),
        ("@cf/meta/llama", Routed("two", "@cf/meta/llama")),
        ("gpt-5:latest", None),
        ("GPT-5", None),
        ("one", None),
        ("three/gpt-5", None),
        ("llama3", None),
    ],
)
def test_the_name_before_the_slash_decides_else_who_lists_it(model: str, found: Routed | None) -> None:
    assert named(UPS, model) == found
    assert [route(UPS, path, model) for path in UPSTREAM_PATHS] == [found] * 4


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/v1/messages", "/v1/audio/transcriptions"])
def test_other_routes_know_none_of_them(path: str) -> None:
    assert route(UPS, path, "one/gpt-5") is None


@pytest.mark.parametrize("rest", ["", "a b", "a?num_ctx=x", "a\nb", "ä", "x" * 201])
def test_a_name_that_could_be_misread_is_none(rest: str) -> None:
    with pytest.raises(InvalidModelName, match=r"^invalid model name$"):
        route(UPS, CHAT, f"one/{rest}")


@pytest.mark.parametrize("model", ["gpt-5", "a/b:free", "@cf/x", "ft:gpt:org::id", "x=y&z=1"])
def test_a_load_key_says_whose_job_it_is_and_is_no_models(model: str) -> None:
    key = Routed("one", model).key
    assert upstream_of(str(key)) == upstream_of(key.model) == "one"
    assert LoadKey.parse(str(key)) == key
    with pytest.raises(InvalidModelName):
        names.parse(str(key))


@pytest.mark.parametrize("key", ["one/gpt-5:latest", "llama3:latest?num_ctx=1", "a"])
def test_load_keys_of_the_target_are_nobodys(key: str) -> None:
    assert upstream_of(key) is None


@pytest.mark.parametrize(
    ("one", "two"),
    [("a", "a"), ("a-1", "a-*"), ("a-*", "a-1"), ("a-*", "a-*"), ("a-b*", "a-*"), ("a-*", "a-b*"), ("two/x", "y")],
)
def test_what_can_belong_to_both_is_told(one: str, two: str) -> None:
    found = list(conflicts((Up("one", (one,)), Up("two", (two,)))))
    assert {(place, earlier.name) for place, _, earlier in found} == {(1, "one")}


def test_a_later_one_may_not_list_what_an_earlier_ones_name_stands_for() -> None:
    assert [place for place, _, _ in conflicts((Up("one"), Up("two", ("one/x",))))] == [1]


def test_what_is_different_is_fine() -> None:
    assert list(conflicts((Up("one", ("a-*", "b", "one/x")), Up("two", ("ab-*", "c", "A-1"))))) == []


def test_only_whole_names_are_listed() -> None:
    assert listed(UPS[0]) == ("gpt-5",)


@pytest.mark.parametrize(
    ("key", "needed"),
    [
        ("llama3:latest", True),
        ("gpt-oss:120b-cloud", True),
        ("pull phi4:14b", True),
        ("@one/m", False),
        ("slot x?memory=1", False),
    ],
)
def test_commands_and_jobs_of_remote_apis_do_without_the_target(key: str, needed: bool) -> None:
    assert needs_target(key) is needed
