"""What is read from /api/tags and /api/ps, of good answers and of any other."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.core.inventory import EMPTY, Inventory, Model, Runner, entry_v1, runners_of
from foreman.core.lanes import Lane
from foreman.core.names import parse

# As v0.33 writes them: digests without a prefix, times with the server's own offset and up to nine digits.
LLAMA = {
    "name": "Llama3:latest",
    "model": "Llama3:latest",
    "modified_at": "2026-01-02T03:04:05.123456789+02:00",
    "size": 4_700_000_000,
    "digest": "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1",
    "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": None},
    "capabilities": ["completion", "tools"],
}
COPY = LLAMA | {"name": "me/mine:v2", "model": "me/mine:v2"}
EMBEDDER = {"name": "nomic-embed-text:latest", "size": 274, "digest": "ab", "capabilities": ["embedding"]}
CLOUD = {"name": "gpt-oss:120b-cloud", "digest": "cd", "remote_host": "https://ollama.com:443", "remote_model": "gpt"}


def tags(*entries: object) -> bytes:
    return orjson.dumps({"models": entries})


def one(entry: dict[str, Any]) -> Model:
    (model,) = Inventory.of(tags(entry)).models.values()
    return model


def find(inventory: Inventory, name: str) -> Model | None:
    return inventory.find(parse(name))


def test_a_model_as_the_target_lists_it() -> None:
    assert one(LLAMA) == Model(
        name="Llama3:latest",
        canonical="llama3:latest",
        digest=str(LLAMA["digest"]),
        size=4_700_000_000,
        created=1_767_315_845,
        owned_by="library",
    )


def test_the_answer_is_kept_byte_for_byte() -> None:
    answer = b'{ "models" : [ {"name":"a:latest","later":"\xc3\xa9"} ],"more":1}\n'
    assert Inventory.of(answer).tags == answer


@pytest.mark.parametrize("spelling", ["llama3", "LLAMA3:Latest", "library/llama3", "registry.ollama.ai/library/llama3"])
def test_a_model_is_found_in_any_spelling(spelling: str) -> None:
    found = find(Inventory.of(tags(COPY, LLAMA)), spelling)
    assert found is not None
    assert found.name == "Llama3:latest"


@pytest.mark.parametrize("spelling", ["llama3:8b", "me/llama3", "hf.co/library/llama3", "llama"])
def test_another_model_is_not_found(spelling: str) -> None:
    assert find(Inventory.of(tags(COPY, LLAMA)), spelling) is None


@pytest.mark.parametrize(
    ("entry", "embedding"),
    [
        ({"capabilities": ["embedding"]}, True),
        ({"capabilities": ["embedding", "completion"]}, False),
        ({"capabilities": ["completion", "vision"]}, False),
        # Where capabilities are stated they decide; a target older than that states the family alone.
        ({"capabilities": ["completion"], "details": {"family": "bert"}}, False),
        ({"capabilities": [], "details": {"family": "bert"}}, True),
        ({"details": {"family": "nomic-bert"}}, True),
        ({"details": {"family": "llama"}}, False),
        ({"details": {"family": ["bert"]}}, False),
        ({"details": None}, False),
        ({}, False),
    ],
)
def test_which_models_only_embed(entry: dict[str, Any], *, embedding: bool) -> None:
    inventory = Inventory.of(tags({"name": "m:1b"} | entry))
    assert inventory.is_embedding("m:1b") is embedding
    assert runners_of(tags({"name": "m:1b"} | entry))[0].embedding is embedding


def test_a_model_nobody_has_is_nothing_special() -> None:
    inventory = Inventory.of(tags(EMBEDDER, CLOUD))
    assert not inventory.is_embedding("other:latest")
    assert not inventory.is_remote("other:latest")
    assert inventory.aliases("other:latest") == ("other:latest",)


def test_the_lane_of_a_model_is_that_of_where_it_runs() -> None:
    hosted = {"name": "hosted", "digest": "aa", "remote_host": "https://ollama.com:443"}
    inventory = Inventory.of(tags(EMBEDDER, CLOUD, hosted))
    assert inventory.lane("hosted:latest") is inventory.lane("gpt-oss:120b-cloud") is Lane.REMOTE
    # Its name says it, whether or not the target lists it.
    assert inventory.lane("other:7b-cloud") is Inventory.of(tags()).lane("other:7b-cloud") is Lane.REMOTE
    assert inventory.lane("other:7b") is Lane.LOCAL


def test_a_cloud_model_does_not_stand_for_the_local_one_of_its_name() -> None:
    local = {"name": "gpt-oss:120b", "digest": "ef", "size": 65}
    for entries in ((local, CLOUD), (CLOUD, local)):
        inventory = Inventory.of(tags(*entries))
        assert not inventory.is_remote(parse("gpt-oss:120b").canonical)
        assert inventory.is_remote(parse("gpt-oss:120b-cloud").canonical)
        assert inventory.is_remote(parse("GPT-OSS:120b:cloud").canonical)
        assert {model["id"] for model in orjson.loads(inventory.listing)["data"]} == {
            "gpt-oss:120b",
            "gpt-oss:120b-cloud",
        }


def test_a_model_with_a_remote_host_runs_elsewhere_whatever_its_name() -> None:
    assert Inventory.of(tags(CLOUD | {"name": "mine"})).is_remote("mine:latest")
    assert not Inventory.of(tags(CLOUD | {"name": "mine", "remote_host": ""})).is_remote("mine:latest")


@pytest.mark.parametrize(
    ("written", "created"),
    [
        ("2026-01-02T03:04:05Z", 1_767_323_045),
        ("2026-01-02T03:04:05.999999999Z", 1_767_323_045),
        ("2026-01-02T03:04:05+02:00", 1_767_315_845),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140),
        ("2026-01-02T03:04:05", 1_767_323_045),
        ("yesterday", 0),
        ("", 0),
        (5, 0),
        (None, 0),
    ],
)
def test_the_time_of_a_model(written: object, created: int) -> None:
    assert one({"name": "m", "modified_at": written}).created == created


@pytest.mark.parametrize("size", [None, True, "5", 5.0, [5]])
def test_a_size_that_is_no_whole_number_is_unknown(size: object) -> None:
    assert one({"name": "m", "size": size}).size == 0


def test_copies_are_aliases_and_the_given_name_comes_first() -> None:
    inventory = Inventory.of(tags(EMBEDDER, COPY, LLAMA))
    assert inventory.aliases("llama3:latest") == ("llama3:latest", "me/mine:v2")
    assert inventory.aliases("me/mine:v2") == ("me/mine:v2", "llama3:latest")
    assert inventory.aliases("nomic-embed-text:latest") == ("nomic-embed-text:latest",)


def test_models_of_unknown_weights_are_no_aliases() -> None:
    inventory = Inventory.of(tags({"name": "a"}, {"name": "b"}))
    assert inventory.aliases("a:latest") == ("a:latest",)


def test_the_listing_is_what_v1_models_answers() -> None:
    listing = Inventory.of(tags(COPY, LLAMA)).listing
    assert listing.endswith(b"\n")
    assert orjson.loads(listing) == {
        "object": "list",
        "data": [
            {"id": "me/mine:v2", "object": "model", "created": 1_767_315_845, "owned_by": "me"},
            {"id": "Llama3:latest", "object": "model", "created": 1_767_315_845, "owned_by": "library"},
        ],
    }


def test_one_model_of_v1_has_the_name_it_was_asked_by() -> None:
    assert entry_v1(one(LLAMA), "llama3") == {
        "id": "llama3",
        "object": "model",
        "created": 1_767_315_845,
        "owned_by": "library",
    }


def test_no_models_are_an_empty_list_and_no_null() -> None:
    empty = Inventory.of(b'{"models":[]}')
    assert (empty.tags, empty.listing, dict(empty.models)) == (EMPTY.tags, EMPTY.listing, {})
    assert orjson.loads(EMPTY.listing) == {"object": "list", "data": []}


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"{}", b"null", b'{"models":null}', b'{"models":{}}', b"\xff"]
)
def test_an_answer_that_is_no_list_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Inventory.of(answer)
    with pytest.raises(ValueError, match=r"\S"):
        runners_of(answer)


def test_entries_that_cannot_be_read_are_left_out() -> None:
    answer = tags(None, 5, [], {}, {"name": ""}, {"name": "a b"}, {"name": 5}, {"name": None, "model": "ok"})
    assert list(Inventory.of(answer).models) == ["ok:latest"]
    assert [runner.canonical for runner in runners_of(answer)] == ["ok:latest"]


def test_the_models_cannot_be_changed_from_outside() -> None:
    models: Any = Inventory.of(tags(LLAMA)).models
    with pytest.raises(TypeError):
        models["x"] = models["llama3:latest"]


def test_a_loaded_model_as_the_target_shows_it() -> None:
    shown = LLAMA | {"size": 6_000, "size_vram": 5_000, "context_length": 8_192, "expires_at": "2318-01-01T00:00:00Z"}
    assert runners_of(tags(shown)) == (
        Runner(
            name="Llama3:latest",
            canonical="llama3:latest",
            digest=str(LLAMA["digest"]),
            size=6_000,
            size_vram=5_000,
            context_length=8_192,
            expires_at="2318-01-01T00:00:00Z",
        ),
    )


def test_a_loaded_model_of_which_nothing_is_said() -> None:
    assert runners_of(tags({"name": "m"})) == (Runner(name="m", canonical="m:latest"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "A:latest", "b", "c:cloud", "d:x-cloud", "d:x", "a b"])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | JSON,
        "model": NAMES | JSON,
        "digest": st.sampled_from(["", "1", "2"]) | JSON,
        "modified_at": st.datetimes().map(str) | JSON,
        **dict.fromkeys(("size", "size_vram", "context_length", "expires_at", "details", "capabilities"), JSON),
        "remote_host": JSON,
    },
)


@settings(max_examples=50, deadline=None)
@given(st.lists(ENTRIES | JSON, max_size=6))
def test_any_list_can_be_read(entries: list[Any]) -> None:
    answer = orjson.dumps({"models": entries})
    inventory = Inventory.of(answer)
    assert inventory.tags == answer
    for canonical, model in inventory.models.items():
        assert parse(model.name).canonical == model.canonical == canonical
    assert {r.canonical for r in runners_of(answer)} == set(inventory.models)
    assert len(orjson.loads(inventory.listing)["data"]) >= len(inventory.models)


WEIGHTS = st.fixed_dictionaries({"name": NAMES, "digest": st.sampled_from(["", "1", "2"])})


@given(st.lists(WEIGHTS, max_size=8))
def test_aliases_are_an_equivalence(entries: list[Any]) -> None:
    inventory = Inventory.of(orjson.dumps({"models": entries}))
    for canonical in inventory.models:
        aliases = inventory.aliases(canonical)
        assert aliases[0] == canonical
        assert len(set(aliases)) == len(aliases)
        for alias in aliases:
            assert set(inventory.aliases(alias)) == set(aliases)
