"""Forecasts from what /api/show says of real models."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.headroom import (
    LARGE_OVERHEAD,
    OVERHEAD,
    LoadSeen,
    Shape,
    automatic_context,
    forecast,
    is_cut,
    on_this_memory,
    shape_of,
)
from foreman.core.job import LoadKey
from foreman.core.units import GIB, MIB

GB = 10**9

LLAMA2_7B: dict[str, Any] = {
    "general.architecture": "llama",
    "general.file_type": 2,
    "general.parameter_count": 6738415616,
    "general.quantization_version": 2,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 32,
    "llama.attention.layer_norm_rms_epsilon": 1e-05,
    "llama.block_count": 32,
    "llama.context_length": 4096,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 11008,
    "llama.rope.dimension_count": 128,
    "tokenizer.ggml.merges": None,
    "tokenizer.ggml.tokens": None,
}
LLAMA31_8B = {
    "general.architecture": "llama",
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.block_count": 32,
    "llama.context_length": 131072,
    "llama.embedding_length": 4096,
}
LLAMA31_70B = {
    "general.architecture": "llama",
    "llama.attention.head_count": 64,
    "llama.attention.head_count_kv": 8,
    "llama.block_count": 80,
    "llama.context_length": 131072,
    "llama.embedding_length": 8192,
}
QWEN3_8B = {
    "general.architecture": "qwen3",
    "qwen3.attention.head_count": 32,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.attention.key_length": 128,
    "qwen3.attention.value_length": 128,
    "qwen3.block_count": 36,
    "qwen3.context_length": 40960,
    "qwen3.embedding_length": 4096,
}
# Its heads are wider than its embedding shared among them.
GEMMA3_1B = {
    "general.architecture": "gemma3",
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": 256,
    "gemma3.attention.sliding_window": 512,
    "gemma3.attention.value_length": 256,
    "gemma3.block_count": 26,
    "gemma3.context_length": 32768,
    "gemma3.embedding_length": 1152,
}
# 48 heads on 6144, two of them kept.
GLM4_32B = {
    "general.architecture": "glm4",
    "glm4.attention.head_count": 48,
    "glm4.attention.head_count_kv": 2,
    "glm4.attention.key_length": 128,
    "glm4.attention.value_length": 128,
    "glm4.block_count": 61,
    "glm4.context_length": 32768,
    "glm4.embedding_length": 6144,
}


@pytest.mark.parametrize(
    ("info", "context", "cache"),
    [
        # The cache of f16 in all layers: of the llamas, what llama.cpp prints as `KV self size`.
        (LLAMA2_7B, 4096, 2048 * MIB),
        (LLAMA31_8B, 8192, 1024 * MIB),
        (LLAMA31_70B, 4096, 1280 * MIB),
        (QWEN3_8B, 4096, 576 * MIB),
        (GEMMA3_1B, 4096, 104 * MIB),
        (GLM4_32B, 32768, 1952 * MIB),
    ],
    ids=["llama2", "llama3.1", "llama3.1:70b", "qwen3", "gemma3", "glm4"],
)
def test_the_cache_of_real_models(info: dict[str, Any], context: int, cache: int) -> None:
    per_token = shape_of(info).cache_per_token
    assert per_token is not None
    assert per_token * context == cache


def test_heads_may_differ_from_layer_to_layer() -> None:
    """A hybrid: every fourth layer keeps a cache, the others none."""
    info = QWEN3_8B | {"qwen3.attention.head_count_kv": [0, 0, 0, 8] * 9}
    assert shape_of(info).cache_per_token == 9 * 8 * (128 + 128) * 2
    both = info | {"qwen3.attention.head_count": [0, 0, 0, 32] * 9}
    del both["qwen3.attention.key_length"], both["qwen3.attention.value_length"]
    assert shape_of(both).cache_per_token == 9 * 8 * (128 + 128) * 2


@pytest.mark.parametrize("value", [[], None])
def test_what_is_left_out_of_a_short_answer_is_noticed(value: object) -> None:
    info = QWEN3_8B | {"qwen3.attention.head_count_kv": value}
    assert is_cut(info)
    assert shape_of(info).cache_per_token is None
    assert not is_cut(QWEN3_8B)


def test_a_model_without_grouped_heads_keeps_all() -> None:
    info = {name: value for name, value in LLAMA2_7B.items() if not name.endswith("head_count_kv")}
    assert shape_of(info) == shape_of(LLAMA2_7B)
    assert not is_cut(info)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"general.architecture": 7},
        {"general.architecture": "x", "x.block_count": "many", "x.attention.head_count": True},
        LLAMA2_7B | {"llama.block_count": 0},
        LLAMA2_7B | {"llama.attention.head_count_kv": ["a"]},
        LLAMA2_7B | {"llama.embedding_length": None},
    ],
)
def test_figures_that_are_odd_are_not_told(info: dict[str, Any]) -> None:
    assert shape_of(info).cache_per_token is None


words = (
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=3) | st.lists(st.integers(-1, 64) | st.none())
)
keys = ("block_count", "context_length", "embedding_length", "attention.head_count", "attention.head_count_kv",
        "attention.key_length", "attention.value_length")  # fmt: skip


@given(st.fixed_dictionaries({f"x.{key}": words for key in keys}, optional={"general.architecture": st.just("x")}))
def test_no_answer_of_a_target_breaks_the_reading(info: dict[str, Any]) -> None:
    per_token = shape_of(info).cache_per_token
    assert per_token is None or per_token >= 0


# -- the forecast

KEY = LoadKey("llama3.1:70b")
FILE = 40 * GB
SHAPE = shape_of(LLAMA31_70B)
CACHE = 80 * 8 * (128 + 128) * 2


def key(**options: int) -> LoadKey:
    return LoadKey("llama3.1:70b", tuple(sorted(options.items())))


def test_an_estimate_is_file_and_cache_and_what_it_runs_in() -> None:
    found = forecast(key(num_ctx=8192), FILE, SHAPE, None, 4096)
    assert (found.size, found.least) == (FILE + CACHE * 8192 + OVERHEAD, FILE + CACHE * 8192)
    assert found.basis == "estimate"
    assert found.text == "40 GB for its file, 0.8 GB to run, 2.7 GB for a context of 8192 tokens"


def test_an_automatic_context_counts_but_not_as_what_it_cannot_do_without() -> None:
    found = forecast(KEY, FILE, SHAPE, None, 262_144)
    # The model itself has no more than 131072.
    assert (found.size, found.least) == (FILE + CACHE * 131_072 + OVERHEAD, FILE)
    assert found.size > 83 * GB


def test_a_context_is_cut_to_what_the_model_has() -> None:
    assert forecast(key(num_ctx=10**9), FILE, SHAPE, None, 1) == forecast(key(num_ctx=131_072), FILE, SHAPE, None, 1)
    assert forecast(key(num_ctx=-1), FILE, SHAPE, None, 4096).size == forecast(KEY, FILE, SHAPE, None, 4096).size


def test_a_large_batch_takes_a_large_graph() -> None:
    small, large = (forecast(key(num_batch=size), FILE, SHAPE, None, 4096).size for size in (512, 2048))
    assert large - small == LARGE_OVERHEAD - OVERHEAD


def test_without_figures_of_the_cache_the_file_is_all_that_is_known() -> None:
    found = forecast(key(num_ctx=8192), FILE, Shape(), None, 4096)
    assert (found.size, found.least) == (FILE + OVERHEAD, FILE)
    assert "not told" in found.text


def seen(size: int, vram: int) -> LoadSeen:
    return LoadSeen(1, str(KEY), "estimate", 50 * GB, size, vram)


def test_what_it_took_the_last_time_goes_before_every_estimate() -> None:
    found = forecast(KEY, FILE, SHAPE, seen(43 * GB, 43 * GB), 262_144)
    assert (found.size, found.basis, found.text) == (43 * GB, "last", "it took 43 GB the last time")
    assert found.least == 0


@pytest.mark.parametrize(
    ("memory", "unified", "context"),
    [
        (96 * GIB, True, 262_144),
        (64 * GIB, True, 262_144),
        (48 * GIB, True, 32_768),
        (32 * GIB, True, 32_768),
        (16 * GIB, True, 4096),
        (48 * GIB, False, 262_144),
        (24 * GIB, False, 32_768),
        (0, False, 4096),
        (None, True, 262_144),
    ],
)
def test_the_automatic_context_follows_the_memory(memory: int | None, unified: bool, context: int) -> None:
    assert automatic_context(memory, unified) == context


@pytest.mark.parametrize(
    ("last", "card", "unified", "here"),
    [
        (None, None, True, 43),  # one memory for all: nothing is anywhere else
        ((43, 43), 43, True, 43),
        ((43, 43), 43, False, 0),  # all on the card
        ((43, 24), 24, False, 19),  # what did not fit there
        ((43, 0), 0, False, 43),  # no card
        (None, 24, False, 19),  # never loaded, and the card is known from others
        (None, 0, False, 43),
        (None, None, False, None),  # nobody has seen yet what a card takes
    ],
)
def test_what_lies_on_a_graphics_card_is_not_taken_from_the_memory(
    last: tuple[int, int] | None, card: int | None, unified: bool, here: int | None
) -> None:
    before = None if last is None else seen(last[0] * GB, last[1] * GB)
    on_card = None if card is None else card * GB
    found = on_this_memory(43 * GB, before, on_card, unified=unified)
    assert found == (None if here is None else here * GB)
