"""Model names against the vectors of Ollama's own rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.errors import InvalidModelName
from foreman.core.names import ModelName, parse

VALID = [
    ("llama3.2", "llama3.2:latest", ""),
    ("llama3.2:latest", "llama3.2:latest", ""),
    ("library/llama3.2", "llama3.2:latest", ""),
    ("registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest", ""),
    ("https://registry.ollama.ai/library/llama3.2", "llama3.2:latest", ""),
    (" llama3.2 ", "llama3.2:latest", ""),
    ("\u00a0llama3.2\u2003", "llama3.2:latest", ""),
    ("me/foo", "me/foo:latest", ""),
    ("me/foo:7b", "me/foo:7b", ""),
    ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", ""),
    ("localhost:5000/ns/m:1b", "localhost:5000/ns/m:1b", ""),
    ("hf.co/library/m", "hf.co/library/m:latest", ""),
    ("gpt-oss:120b-cloud", "gpt-oss:120b", "cloud"),
    ("gpt-oss:120b:cloud", "gpt-oss:120b", "cloud"),
    ("gpt-oss:120b-Cloud", "gpt-oss:120b", "cloud"),
    ("gpt-oss:cloud", "gpt-oss:latest", "cloud"),
    ("gpt-oss: cloud", "gpt-oss:latest", "cloud"),
    ("GPT-OSS:Cloud", "GPT-OSS:latest", "cloud"),
    ("qwen3:8b:local", "qwen3:8b", "local"),
    ("qwen3:local", "qwen3:latest", "local"),
    ("my-cloud", "my-cloud:latest", ""),
    ("my-cloud:latest", "my-cloud:latest", ""),
    ("localhost:5000/ns/a-cloud", "localhost:5000/ns/a-cloud:latest", ""),
    ("m" * 80, "m" * 80 + ":latest", ""),
]


@pytest.mark.parametrize(("text", "display", "source"), VALID)
def test_a_valid_name(text: str, display: str, source: str) -> None:
    name = parse(text)
    assert (name.display, name.source) == (display, source)
    assert name.is_cloud == (source == "cloud")


@pytest.mark.parametrize(
    "text",
    ["LLAMA3.2:Latest", "llama3.2:LATEST", "Library/llama3.2", "Registry.Ollama.AI/Library/Llama3.2", "llama3.2:local"],
)
def test_spellings_of_one_model_share_the_canonical_name(text: str) -> None:
    assert parse(text).canonical == parse("llama3.2").canonical == "llama3.2:latest"


def test_different_hosts_are_different_models() -> None:
    assert parse("hf.co/a/b").canonical != parse("huggingface.co/a/b").canonical


@pytest.mark.parametrize(
    "text",
    [
        "foo bar",
        "foo:",
        "/foo",
        "foo/",
        "a/b/c/d:e",
        "localhost:5000/m",
        "foo@sha256:ab",
        ":cloud",
        "-x",
        "foo:-x",
        "foo:-cloud",
        "n.s/foo",
        "http://m",
        "foo\x1c",
        "m" * 81,
        "foo:" + "t" * 81,
        "h" * 351 + "/n/m",
        "foo\n:x",
        "modèle",
        "kelvin\u212a",
        "a\x00b",
    ],
)
def test_an_invalid_name(text: str) -> None:
    with pytest.raises(InvalidModelName, match=r"^invalid model name$"):
        parse(text)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u2003"])
def test_no_name(text: str) -> None:
    with pytest.raises(InvalidModelName, match=r"^model is required$"):
        parse(text)


@pytest.mark.parametrize("text", ["foo:cloud:local", "foo:a-cloud:cloud", "foo:local:local", " foo:LOCAL:Cloud "])
def test_two_sources_contradict(text: str) -> None:
    with pytest.raises(InvalidModelName) as caught:
        parse(text)
    assert str(caught.value) == f'use either :local or :cloud, not both: "{text.strip()}"'


PART = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,10}", fullmatch=True)


@given(st.builds(ModelName, PART, PART, PART, PART.filter(lambda t: not t.lower().endswith("cloud") and t != "local")))
def test_display_reads_back_as_the_same_model(name: ModelName) -> None:
    again = parse(name.display)
    assert again.canonical == name.canonical
    assert again.display == name.display


@given(st.text(alphabet="aZ9_-.:/ @clouda", max_size=20))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    try:
        name = parse(text)
    except InvalidModelName:
        return
    assert parse(name.canonical).canonical == name.canonical
