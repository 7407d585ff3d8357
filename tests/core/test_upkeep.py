"""What upkeep of the store is called among the jobs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import names, upkeep
from foreman.core.errors import InvalidModelName
from foreman.core.gate import Kind
from foreman.core.job import LoadKey
from foreman.core.order import Reason
from foreman.core.upkeep import Work


@pytest.mark.parametrize("work", list(Work))
@given(st.text(max_size=30))
def test_no_model_is_called_like_upkeep(work: Work, text: str) -> None:
    for name in (text, f"{work} {text}"):
        try:
            canonical = names.parse(name).canonical
        except InvalidModelName:
            continue
        assert not upkeep.is_upkeep(canonical)
        assert upkeep.work_of(canonical) is None
        called = upkeep.load_key(work, name).model
        assert upkeep.is_upkeep(called)
        assert (upkeep.work_of(called), upkeep.subject(called)) == (work, canonical)


def test_a_load_key_says_it_as_well() -> None:
    key = upkeep.load_key(Work.PULL, "Phi4", (("insecure", True),))
    assert key == LoadKey("pull phi4:latest", (("insecure", True),))
    assert upkeep.is_upkeep(str(key))
    assert upkeep.work_of(str(key)) is Work.PULL


@pytest.mark.parametrize("other", ["pull", "create", "pull:latest", "createx y", "slot pull x", "", " pull x"])
def test_what_only_looks_like_it(other: str) -> None:
    assert not upkeep.is_upkeep(other)
    assert upkeep.work_of(other) is None


@pytest.mark.parametrize("work", list(Work))
def test_every_work_has_its_words_elsewhere(work: Work) -> None:
    assert (Kind(work).value, Reason(work).value) == (work.value, work.value)
    assert f"/api/{work}" in upkeep.PATHS
    assert f"ollama {work}" in upkeep.CLIENTS


@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        ("ollama pull phi4", ["pull phi4:latest"]),
        ("/usr/local/bin/ollama pull --insecure library/phi4:14b", ["pull phi4:14b"]),
        ("ollama pull phi4 --insecure", ["pull phi4:latest"]),
        ("ollama pull hf.co/bartowski/Llama-3.2-3B-GGUF:Q4_K_M", ["pull hf.co/bartowski/llama-3.2-3b-gguf:q4_k_m"]),
        ("ollama create mine -f ./Modelfile", ["create mine:latest"]),
        ("ollama pull", []),
        ("ollama pull ../x", []),
        ("OLLAMA PULL phi4", []),
        ("ollama run phi4", []),
        ("grep ollama pull phi4", []),
    ],
)  # fmt: skip
def test_what_a_typed_command_may_wait_for(line: str, jobs: list[str]) -> None:
    assert upkeep.typed(line) == set(jobs)
