"""Which model is loaded, and what a job needs before it may run.

Rules:
1. The load key decides, not the name: Ollama reloads a model when a load-time option changes.
2. What /api/ps shows is the truth about names; what foreman loaded itself is the truth about options.
3. Embedding models stand beside the worker model and are never evicted.
4. Models that run elsewhere (cloud) need nothing and change nothing.
Nothing here asks the target: the poller and the worker do, and hand in what they saw.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from foreman.core.inventory import Inventory, Runner
from foreman.core.job import Hot, LoadKey


class Swap(StrEnum):
    """Who evicts: foreman, one worker model at a time (exclusive), or Ollama (target)."""

    EXCLUSIVE = "exclusive"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model foreman loaded and pinned. `context_length` is what /api/ps said of it first."""

    key: LoadKey
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class Residency:
    """What is in the target's memory. `known` is False until the target was first asked."""

    runners: tuple[Runner, ...] = ()
    loaded: tuple[Loaded, ...] = ()
    known: bool = False

    def observe(self, runners: tuple[Runner, ...], inventory: Inventory) -> "Residency":
        """After a look at /api/ps: forget what is gone, or was loaded anew by somebody else."""
        kept = (_seen(loaded, runners, inventory) for loaded in self.loaded)
        return Residency(runners, tuple(loaded for loaded in kept if loaded is not None), known=True)

    def with_loaded(self, key: LoadKey, swap: Swap) -> "Residency":
        """After foreman loaded `key`."""
        others = () if swap is Swap.EXCLUSIVE else tuple(one for one in self.loaded if one.key.model != key.model)
        return replace(self, loaded=(*others, Loaded(key)))

    def without(self, model: str) -> "Residency":
        """After `model` (canonical) was unloaded, or its load failed."""
        return replace(
            self,
            runners=tuple(runner for runner in self.runners if runner.canonical != model),
            loaded=tuple(one for one in self.loaded if one.key.model != model),
        )


def _seen(loaded: Loaded, runners: tuple[Runner, ...], inventory: Inventory) -> Loaded | None:
    names = inventory.aliases(loaded.key.model)
    for runner in runners:
        if runner.canonical in names:
            if loaded.context_length is None:
                return replace(loaded, context_length=runner.context_length)
            # Another context length means that somebody had it reloaded with other options.
            return loaded if loaded.context_length == runner.context_length else None
    return None


def workers(residency: Residency, inventory: Inventory) -> tuple[Runner, ...]:
    """The loaded models that take turns: all but the embedding models."""
    return tuple(r for r in residency.runners if not r.embedding and not inventory.is_embedding(r.canonical))


def hot(residency: Residency, inventory: Inventory) -> Hot:
    """What the next claim should prefer: first equal load keys, then equal models, aliases included."""
    keys: dict[str, None] = {}
    models: dict[str, None] = {}
    for loaded in residency.loaded:
        for name in inventory.aliases(loaded.key.model):
            keys[str(LoadKey(name, loaded.key.options))] = None
            models[name] = None
    for runner in workers(residency, inventory):
        models.update(dict.fromkeys(inventory.aliases(runner.canonical)))
    return Hot(tuple(keys), tuple(models))


@dataclass(frozen=True, slots=True)
class Ready:
    """Nothing to load: the job can go to the target as it is."""


@dataclass(frozen=True, slots=True)
class Load:
    """Unload `evict` first, then load `key` and pin it. `swap` is False where only the pin or the options change."""

    key: LoadKey
    evict: tuple[str, ...] = ()
    swap: bool = True


def plan(key: LoadKey, residency: Residency, inventory: Inventory, swap: Swap, *, remote: bool) -> Ready | Load:
    """What has to happen before a job with this load key may run.

    (1) A model that runs elsewhere, or that only embeds and stands beside the others: nothing.
    (2) Loaded by foreman with these options, under this name or an alias: nothing.
    (3) In memory with other or unknown options: load it again; without a change of options that only pins it.
    (4) Otherwise: evict the other worker models (exclusive) and load.
    """
    if remote or inventory.is_embedding(key.model):  # (1)
        return Ready()
    names = inventory.aliases(key.model)
    if any(one.key.model in names and one.key.options == key.options for one in residency.loaded):  # (2)
        return Ready()
    held = _held(residency, inventory)
    evict = tuple(name for canonical, name in held.items() if canonical not in names) if swap is Swap.EXCLUSIVE else ()
    return Load(key, evict, swap=held.keys().isdisjoint(names))  # (3), (4)


def is_heavy(key: LoadKey, residency: Residency, inventory: Inventory, swap: Swap, *, remote: bool) -> bool:
    """Whether a job with this load key would have something loaded that is not in memory yet."""
    if inventory.models and key.model not in inventory.models:
        return False  # the target will say that it does not have it
    if isinstance(plan(key, residency, inventory, swap, remote=remote), Ready):
        return False
    names = inventory.aliases(key.model)
    if any(one.key.model in names for one in residency.loaded):
        return True  # with other options
    # Somebody loaded it, and no option that shows is another one: most likely it is only pinned.
    context = dict(key.options).get("num_ctx")
    return not any(
        runner.canonical in names and context in (None, runner.context_length) for runner in residency.runners
    )


def _held(residency: Residency, inventory: Inventory) -> dict[str, str]:
    """The worker models in memory: shown, or loaded by foreman and not looked at since. Canonical and given names."""
    held = {runner.canonical: runner.name for runner in workers(residency, inventory)}
    for one in residency.loaded:
        if held.keys().isdisjoint(inventory.aliases(one.key.model)):
            held[one.key.model] = one.key.model
    return held
