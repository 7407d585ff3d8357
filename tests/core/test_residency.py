"""What is loaded, and what has to happen before a job may run."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreman.core.inventory import EMPTY, Inventory, Runner
from foreman.core.job import Hot, LoadKey
from foreman.core.residency import Load, Ready, Residency, Swap, hot, is_heavy, plan, workers

# `copy` has the weights of `a`; `vectors` only embeds; `new` was pulled after the last list and is in it nowhere.
WEIGHTS = {"a:latest": "1", "copy:latest": "1", "b:latest": "2", "c:latest": "3", "vectors:latest": "4"}
INVENTORY = Inventory.of(
    orjson.dumps(
        {
            "models": [
                {"name": name, "digest": digest, "capabilities": ["embedding" if digest == "4" else "completion"]}
                for name, digest in WEIGHTS.items()
            ]
        }
    )
)
SMALL = (("num_ctx", 2048),)
LARGE = (("num_ctx", 8192), ("use_mmap", True))


def runner(name: str, context_length: int | None = 4096) -> Runner:
    return Runner(name, name, WEIGHTS.get(name, ""), context_length=context_length)


def shown(*names: str) -> Residency:
    return Residency().observe(tuple(map(runner, names)), INVENTORY)


def planned(key: LoadKey, residency: Residency, swap: Swap = Swap.EXCLUSIVE) -> Ready | Load:
    return plan(key, residency, INVENTORY, swap, remote=False)


def after(need: Ready | Load, residency: Residency, swap: Swap) -> Residency:
    """What is in memory once the plan was carried out."""
    if isinstance(need, Ready):
        return residency
    for name in need.evict:
        residency = residency.without(name)
    return residency.with_loaded(need.key, swap)


A, A_SMALL, B = LoadKey("a:latest"), LoadKey("a:latest", SMALL), LoadKey("b:latest")


def test_before_the_first_look_nothing_is_known() -> None:
    assert not Residency().known
    assert shown().known
    assert hot(Residency(), INVENTORY) == hot(shown(), INVENTORY) == Hot()


def test_an_empty_target_loads_without_eviction() -> None:
    assert planned(A, shown()) == Load(A)


def test_exclusive_evicts_every_other_worker_and_no_embedding_model() -> None:
    residency = shown("b:latest", "vectors:latest", "new:latest")
    assert planned(A, residency) == Load(A, ("b:latest", "new:latest"))
    assert planned(A, residency, Swap.TARGET) == Load(A)


def test_an_embedding_model_is_known_by_what_the_target_shows_of_it_too() -> None:
    unlisted = Runner("mxbai:latest", "mxbai:latest", embedding=True)
    residency = Residency().observe((unlisted, runner("vectors:latest")), INVENTORY)
    assert planned(A, residency) == Load(A)
    assert hot(residency, INVENTORY) == Hot()


def test_evicted_models_are_named_as_the_target_named_them() -> None:
    residency = Residency().observe((Runner("B:Latest", "b:latest"),), INVENTORY)
    assert planned(A, residency) == Load(A, ("B:Latest",))


def test_a_model_that_runs_elsewhere_needs_nothing_and_evicts_nothing() -> None:
    assert plan(A, shown("b:latest"), INVENTORY, Swap.EXCLUSIVE, remote=True) == Ready()


def test_an_embedding_model_needs_nothing_and_evicts_nothing() -> None:
    assert planned(LoadKey("vectors:latest"), shown("b:latest")) == Ready()


def test_what_foreman_loaded_is_ready_under_every_name_of_its_weights() -> None:
    residency = shown().with_loaded(A_SMALL, Swap.EXCLUSIVE)
    assert planned(A_SMALL, residency) == Ready()
    assert planned(LoadKey("copy:latest", SMALL), residency) == Ready()


@pytest.mark.parametrize("options", [(), LARGE, (("num_ctx", 4096),)])
def test_other_options_are_a_reload_and_no_swap(options: tuple[tuple[str, int | bool], ...]) -> None:
    residency = shown().with_loaded(A_SMALL, Swap.EXCLUSIVE)
    for name in ("a:latest", "copy:latest"):
        key = LoadKey(name, options)
        assert planned(key, residency) == Load(key, swap=False)


def test_a_model_somebody_else_loaded_is_loaded_once_more_to_pin_it() -> None:
    for name in ("a:latest", "copy:latest"):
        need = planned(A, shown(name))
        assert need == Load(A, swap=False)
        assert planned(A, after(need, shown(name), Swap.EXCLUSIVE)) == Ready()


def test_between_looks_what_foreman_loaded_counts_as_there() -> None:
    residency = shown().with_loaded(A, Swap.EXCLUSIVE)
    assert planned(B, residency) == Load(B, ("a:latest",))
    assert planned(A_SMALL, residency) == Load(A_SMALL, swap=False)


def test_what_foreman_loaded_and_the_target_shows_is_one_model() -> None:
    residency = shown().with_loaded(LoadKey("copy:latest"), Swap.EXCLUSIVE).observe((runner("a:latest"),), INVENTORY)
    assert planned(B, residency) == Load(B, ("a:latest",))


def test_a_look_learns_the_context_length_once() -> None:
    key = LoadKey("copy:latest")
    residency = shown().with_loaded(key, Swap.EXCLUSIVE)
    for _ in range(2):
        residency = residency.observe((runner("a:latest", 8192),), INVENTORY)
        assert [(one.key, one.context_length) for one in residency.loaded] == [(key, 8192)]


@pytest.mark.parametrize("now", [(), ("b:latest",), ("vectors:latest",)])
def test_a_look_forgets_what_is_gone(now: tuple[str, ...]) -> None:
    residency = shown().with_loaded(A, Swap.EXCLUSIVE).observe(tuple(map(runner, now)), INVENTORY)
    assert residency.loaded == ()
    assert isinstance(planned(A, residency), Load)


def test_another_context_length_means_that_somebody_reloaded_it() -> None:
    residency = shown().with_loaded(A, Swap.EXCLUSIVE).observe((runner("a:latest", 4096),), INVENTORY)
    residency = residency.observe((runner("a:latest", 8192),), INVENTORY)
    assert planned(A, residency) == Load(A, swap=False)


def test_a_target_that_states_no_context_length_is_believed() -> None:
    residency = shown().with_loaded(A, Swap.EXCLUSIVE)
    for _ in range(2):
        residency = residency.observe((runner("a:latest", None),), INVENTORY)
        assert planned(A, residency) == Ready()


def test_unloading_forgets_the_runner_and_what_was_loaded() -> None:
    residency = shown("a:latest", "b:latest").with_loaded(A, Swap.TARGET).with_loaded(B, Swap.TARGET)
    left = residency.without("a:latest")
    assert [r.canonical for r in left.runners] == ["b:latest"]
    assert [one.key for one in left.loaded] == [B]
    assert left.without("never:there") == left


def test_under_target_several_models_stay_loaded_each_with_its_last_options() -> None:
    residency = shown("a:latest", "b:latest")
    for key in (A, B, A_SMALL):
        residency = residency.with_loaded(key, Swap.TARGET)
    assert [one.key for one in residency.loaded] == [B, A_SMALL]


def test_hot_names_keys_and_models_with_their_aliases() -> None:
    residency = shown("vectors:latest", "b:latest").with_loaded(LoadKey("copy:latest", SMALL), Swap.TARGET)
    assert hot(residency, INVENTORY) == Hot(
        ("copy:latest?num_ctx=2048", "a:latest?num_ctx=2048"), ("copy:latest", "a:latest", "b:latest")
    )


def test_hot_knows_no_options_of_what_somebody_else_loaded() -> None:
    assert hot(shown("a:latest"), INVENTORY) == Hot((), ("a:latest", "copy:latest"))


def test_without_a_list_of_models_a_name_is_its_own_only_alias() -> None:
    assert hot(shown("a:latest"), EMPTY) == Hot((), ("a:latest",))


NAMES = st.sampled_from([*WEIGHTS, "new:latest"])
KEYS = st.builds(LoadKey, NAMES, st.sampled_from([(), SMALL, LARGE]))
SWAPS = st.sampled_from(Swap)
# A target runs no two runners of the same weights.
RUNNERS = st.lists(st.builds(runner, NAMES, st.sampled_from([None, 4096, 8192])), unique_by=lambda r: r.digest).map(
    tuple
)


@st.composite
def residencies(draw: st.DrawFn, swap: Swap) -> Residency:
    """Any that comes of loads, unloads and looks."""
    residency = Residency()
    for step in draw(st.lists(RUNNERS | KEYS.filter(lambda key: key.model != "vectors:latest") | NAMES, max_size=5)):
        if isinstance(step, LoadKey):
            residency = after(planned(step, residency, swap), residency, swap)
        elif isinstance(step, str):
            residency = residency.without(step)
        else:
            residency = residency.observe(step, INVENTORY)
    return residency


def held(residency: Residency) -> set[str]:
    """The worker models that are in memory, as far as can be known."""
    return {r.canonical for r in workers(residency, INVENTORY)} | {one.key.model for one in residency.loaded}


@settings(max_examples=60, deadline=None)
@given(st.data(), KEYS)
def test_exclusive_never_leaves_two_worker_models(data: st.DataObject, key: LoadKey) -> None:
    residency = data.draw(residencies(Swap.EXCLUSIVE))
    need = planned(key, residency)
    in_memory = held(after(need, residency, Swap.EXCLUSIVE))
    if isinstance(need, Load):
        assert key.model in in_memory
        assert in_memory <= set(INVENTORY.aliases(key.model))
    else:
        assert in_memory == held(residency)


@settings(max_examples=60, deadline=None)
@given(st.data(), KEYS, SWAPS)
def test_a_plan_spares_embedding_models_and_what_it_loads(data: st.DataObject, key: LoadKey, swap: Swap) -> None:
    residency = data.draw(residencies(swap))
    need = planned(key, residency, swap)
    if isinstance(need, Load):
        assert need.key == key
        assert set(need.evict) <= held(residency) - set(INVENTORY.aliases(key.model))
        assert swap is Swap.EXCLUSIVE or not need.evict
        assert need.swap == held(residency).isdisjoint(INVENTORY.aliases(key.model))


@settings(max_examples=60, deadline=None)
@given(st.data(), KEYS, SWAPS)
def test_a_plan_carried_out_leaves_nothing_to_do(data: st.DataObject, key: LoadKey, swap: Swap) -> None:
    residency = data.draw(residencies(swap))
    residency = after(planned(key, residency, swap), residency, swap)
    assert planned(key, residency, swap) == Ready()
    # Nor does the look that follows, when it shows what was loaded.
    look = tuple(runner(name) for name in held(residency))
    if key.model != "vectors:latest" and not any(one.context_length for one in residency.loaded):
        assert planned(key, residency.observe(look, INVENTORY), swap) == Ready()


@settings(max_examples=60, deadline=None)
@given(st.data(), SWAPS)
def test_what_is_hot_needs_no_swap(data: st.DataObject, swap: Swap) -> None:
    residency = data.draw(residencies(swap))
    preferred = hot(residency, INVENTORY)
    assert len(set(preferred.load_keys)) == len(preferred.load_keys)
    assert len(set(preferred.models)) == len(preferred.models)
    for text in preferred.load_keys:
        key = LoadKey.parse(text)
        assert planned(key, residency, swap) == Ready()
        assert key.model in preferred.models
    for model in preferred.models:
        assert set(INVENTORY.aliases(model)) <= set(preferred.models)
        need = planned(LoadKey(model), residency, swap)
        assert need == Ready() or (isinstance(need, Load) and not need.swap)


@settings(max_examples=60, deadline=None)
@given(st.data(), SWAPS, RUNNERS)
def test_a_second_equal_look_changes_nothing(data: st.DataObject, swap: Swap, look: tuple[Runner, ...]) -> None:
    once = data.draw(residencies(swap)).observe(look, INVENTORY)
    assert once.observe(look, INVENTORY) == once
    for loaded in once.loaded:
        assert any(r.canonical in INVENTORY.aliases(loaded.key.model) for r in look)


def heavy(key: LoadKey, residency: Residency, swap: Swap = Swap.EXCLUSIVE, *, remote: bool = False) -> bool:
    return is_heavy(key, residency, INVENTORY, swap, remote=remote)


def test_a_load_is_heavy_unless_it_only_pins() -> None:
    nothing, left, own = shown(), shown("a:latest"), after(Load(A), shown(), Swap.EXCLUSIVE)
    assert heavy(A, nothing)
    assert heavy(B, left)
    assert heavy(B, own)
    # Left by somebody: with the options of this job, as far as they show.
    assert not heavy(A, left)
    assert not heavy(LoadKey("copy:latest"), left)
    assert heavy(A_SMALL, left)
    assert not heavy(LoadKey("a:latest", (("num_ctx", 4096),)), left)
    # Loaded by foreman itself: its options are known.
    assert not heavy(A, own)
    assert heavy(A_SMALL, own)


def test_what_takes_no_memory_here_is_not_heavy() -> None:
    assert not heavy(B, shown(), remote=True)
    assert not heavy(LoadKey("vectors:latest"), shown())
    assert not heavy(LoadKey("gone:latest"), shown())
    assert is_heavy(LoadKey("gone:latest"), shown(), EMPTY, Swap.EXCLUSIVE, remote=False)


@settings(max_examples=60, deadline=None)
@given(st.data(), KEYS, SWAPS)
def test_only_what_has_to_be_loaded_is_heavy(data: st.DataObject, key: LoadKey, swap: Swap) -> None:
    residency = data.draw(residencies(swap))
    if heavy(key, residency, swap):
        assert isinstance(planned(key, residency, swap), Load)
    assert str(key) not in hot(residency, INVENTORY).load_keys or not heavy(key, residency, swap)
