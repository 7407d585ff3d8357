"""One load that foreman paid for: why it was needed, and what was in memory instead.

Why:
`other_model`: another model was in memory and had to go first;
`other_options`: the model was in memory, with other options;
`first`: nothing had to go, and this process had not loaded the model before;
`expired`: nothing had to go, and it had: its time ran out, or the target or somebody else unloaded it.
"""

from dataclasses import dataclass
from enum import StrEnum

from foreman.core.inventory import Inventory
from foreman.core.job import LoadKey
from foreman.core.residency import Load, Residency

# The one option that /api/ps tells of a model which somebody else loaded.
CONTEXT = "num_ctx"
# By option: what was loaded and what is wanted, None where it was left to the target or nobody knows.
Options = dict[str, tuple[int | bool | None, int | bool | None]]


class Reason(StrEnum):
    OTHER_MODEL = "other_model"
    OTHER_OPTIONS = "other_options"
    FIRST = "first"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a model has to be loaded. `evicted` are the models that go for it, `options` those that differ."""

    reason: Reason
    evicted: tuple[str, ...]
    options: Options


@dataclass(frozen=True, slots=True)
class Reload:
    """A load that was begun. `at` is unix milliseconds; `loaded` is False where it failed or was given up."""

    at: int
    key: LoadKey
    cause: Cause
    client: str
    job: str
    seconds: float
    loaded: bool


def cause_of(need: Load, residency: Residency, inventory: Inventory, *, before: bool) -> Cause:
    """Why `need` has to be loaded; `before` says whether this process has loaded its model already."""
    if need.evict:
        return Cause(Reason.OTHER_MODEL, need.evict, {})
    if not need.swap:
        return Cause(Reason.OTHER_OPTIONS, (), _differing(need.key, residency, inventory))
    return Cause(Reason.EXPIRED if before else Reason.FIRST, (), {})


def _differing(key: LoadKey, residency: Residency, inventory: Inventory) -> Options:
    names = inventory.aliases(key.model)
    was: dict[str, int | bool] = {}
    for loaded in residency.loaded:
        if loaded.key.model in names:
            was = dict(loaded.key.options)
            break
    else:
        for runner in residency.runners:
            if runner.canonical in names and runner.context_length is not None:
                was = {CONTEXT: runner.context_length}
    wanted = dict(key.options)
    if not any(loaded.key.model in names for loaded in residency.loaded):
        # Of what somebody else loaded, only what is asked for can be compared.
        was = {name: value for name, value in was.items() if name in wanted}
    options = sorted(was.keys() | wanted.keys())
    return {name: (was.get(name), wanted.get(name)) for name in options if was.get(name) != wanted.get(name)}
