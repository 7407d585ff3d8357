"""How much memory a model will take when it is loaded: the forecast.

What it took the last time under the same load key is the best forecast there is. Before that it is put together from
the size of its file, the cache of its context (`/api/show`, model_info) and what any runner takes besides.
All figures are bytes. The estimate follows Ollama's own and errs upwards: a cache of f16 in all layers, also in those
that look at a sliding window only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from foreman.core.job import LoadKey
from foreman.core.units import GIB, MIB, gigabytes

# What a runner takes for its graph of computation, and what a larger batch makes of that.
OVERHEAD: Final = 768 * MIB
LARGE_OVERHEAD: Final = 2 * GIB
DEFAULT_BATCH: Final = 512
CACHE_BYTES: Final = 2  # f16
# Where nobody asks for a context, Ollama takes one by the memory its models may use.
AUTOMATIC: Final = ((47 * GIB, 262_144), (23 * GIB, 32_768))
SMALLEST_AUTOMATIC: Final = 4096
# The part of a unified memory that its graphics may use.
UNIFIED_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model decides how large its cache is. Heads and widths for each layer, None where it is not told."""

    context: int | None = None
    layers: int | None = None
    heads_kv: tuple[int, ...] | None = None
    key_width: int | None = None
    value_width: int | None = None

    @property
    def cache_per_token(self) -> int | None:
        """Bytes for each token of context, all layers together."""
        if self.heads_kv is None or self.key_width is None or self.value_width is None:
            return None
        return sum(self.heads_kv) * (self.key_width + self.value_width) * CACHE_BYTES


def shape_of(model_info: Mapping[str, Any]) -> Shape:
    """Read `model_info` of an /api/show answer; what is not there or not as expected is None."""
    family = model_info.get("general.architecture")

    def number(name: str) -> int | None:
        value = model_info.get(f"{family}.{name}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    layers = number("block_count")
    heads = _each_layer(model_info.get(f"{family}.attention.head_count"), layers)
    kept = _each_layer(model_info.get(f"{family}.attention.head_count_kv"), layers)
    width = number("embedding_length")
    share = width // max(heads) if width is not None and heads and max(heads) else None
    return Shape(
        context=number("context_length"),
        layers=layers,
        # A model without grouped heads keeps all of them, and need not say so.
        heads_kv=kept if f"{family}.attention.head_count_kv" in model_info else heads,
        key_width=number("attention.key_length") or share,
        value_width=number("attention.value_length") or share,
    )


def is_cut(model_info: Mapping[str, Any]) -> bool:
    """Whether figures are left out that differ from layer to layer: a verbose answer has them."""
    family = model_info.get("general.architecture")
    return any(
        name in model_info and model_info[name] in (None, [])
        for name in (f"{family}.attention.head_count", f"{family}.attention.head_count_kv")
    )


def _each_layer(value: object, layers: int | None) -> tuple[int, ...] | None:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0 and layers is not None:
        return (value,) * layers
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        heads = tuple(one for one in value if isinstance(one, int) and not isinstance(one, bool) and one >= 0)
        return heads if len(heads) == len(value) else None
    return None


def automatic_context(memory: int | None, unified: bool) -> int:
    """The context of a load that asks for none, on a machine with so much memory (None: not known, so the largest)."""
    if memory is None:
        return AUTOMATIC[0][1]
    usable = memory * UNIFIED_SHARE if unified else memory
    return next((context for least, context in AUTOMATIC if usable >= least), SMALLEST_AUTOMATIC)


@dataclass(frozen=True, slots=True)
class LoadSeen:
    """What a load took, as /api/ps showed it, beside what was expected of it and on what basis. Unix milliseconds.

    `size_vram` is the part on graphics. `automatic` is the context Ollama gives where none is asked for, None where
    this load does not tell.
    """

    at: int
    load_key: str
    basis: str | None
    expected: int | None
    size: int
    size_vram: int
    context: int | None = None
    automatic: int | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a load will take. `least` is what it cannot do without; `basis` is `last` or `estimate`."""

    size: int
    least: int
    basis: str
    text: str


def forecast(key: LoadKey, file_size: int, shape: Shape, seen: LoadSeen | None, automatic: int) -> Forecast:
    """The forecast for one load key. `automatic` is the context where the key names none."""
    if seen is not None:
        # What was loaded once can be loaded: it is never too much for this machine.
        return Forecast(seen.size, 0, "last", f"it took {gigabytes(seen.size)} the last time")
    options = dict(key.options)
    wanted = options.get("num_ctx")
    context = int(wanted) if isinstance(wanted, int) and wanted > 0 else automatic
    context = context if shape.context is None else min(context, shape.context)
    per_token = shape.cache_per_token
    cache = 0 if per_token is None else per_token * context
    overhead = LARGE_OVERHEAD if int(options.get("num_batch", 0)) > DEFAULT_BATCH else OVERHEAD
    size = file_size + cache + overhead
    # An automatic context is made smaller by Ollama where it does not fit; one that was asked for is not.
    least = file_size if wanted is None else file_size + cache
    words = f"{gigabytes(file_size)} for its file, {gigabytes(overhead)} to run"
    if per_token is None:
        return Forecast(size, least, "estimate", f"{words}; its context is not told")
    return Forecast(size, least, "estimate", f"{words}, {gigabytes(cache)} for a context of {context} tokens")


def on_this_memory(size: int, seen: LoadSeen | None, card: int | None, *, unified: bool) -> int | None:
    """The part of `size` that is taken from the machine's own memory, None where nobody can tell.

    `card` is the most that was ever seen on a graphics card of its own, None where nothing was seen yet.
    """
    if unified:
        return size
    if seen is not None:
        return max(0, size - seen.size_vram)
    return None if card is None else max(0, size - card)
