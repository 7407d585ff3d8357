"""Names as the stub folds them, and the sizes it understands."""

import pytest

from foreman.testing.gojson import Refusal
from foreman.testing.models import Library, StubModel, canonical, checked, is_cloud, size_of


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("llama3.2", "llama3.2:latest"),
        (" llama3.2 ", "llama3.2:latest"),
        ("library/llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest"),
        ("https://registry.ollama.ai/library/llama3.2", "llama3.2:latest"),
        ("LLAMA3.2:Latest", "llama3.2:latest"),
        ("me/foo:7b", "me/foo:7b"),
        ("localhost:5000/ns/m:1b", "localhost:5000/ns/m:1b"),
        ("localhost:5000/ns/m", "localhost:5000/ns/m:latest"),
        ("qwen3:8b:local", "qwen3:8b"),
        ("my-cloud", "my-cloud:latest"),
    ],
)
def test_canonical_names(name: str, folded: str) -> None:
    assert canonical(name) == checked(name) == folded


@pytest.mark.parametrize(
    "name", ["", " ", "foo bar", "foo:", "/foo", "foo@sha256:ab", "-x", "foo:-x", "a/b/c/d:e", "n.s/foo"]
)
def test_names_ollama_would_not_take(name: str) -> None:
    with pytest.raises(Refusal, match="invalid model name"):
        checked(name)


@pytest.mark.parametrize(
    ("name", "cloud"),
    [("gpt-oss:120b-cloud", True), ("gpt-oss:Cloud", True), ("m:8b:cloud", True), ("my-cloud", False), ("m:8b", False)],
)
def test_cloud_names(name: str, cloud: bool) -> None:
    assert is_cloud(name) is cloud


def test_sizes() -> None:
    assert [size_of(text) for text in ("123", "4.7GB", "274MB", "1kb")] == [123, 4_700_000_000, 274_000_000, 1000]
    with pytest.raises(ValueError, match="not a size"):
        size_of("big")


def test_a_tag_or_a_name_tells_what_a_model_is() -> None:
    assert StubModel.parse("qwen3:0.6b").size == 360_000_000
    assert StubModel.parse("qwen3:8b=1GB").size == 1_000_000_000
    assert StubModel.parse("bge-m3").embedding_only
    assert not StubModel.parse("qwen3:8b").embedding_only


def test_the_newest_model_comes_first() -> None:
    library = Library(["a", "b"])
    library.add(StubModel(name="A"))
    assert [model.name for model in library.newest_first()] == ["a:latest", "b:latest"]
