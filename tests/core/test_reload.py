"""Why a model has to be loaded, told from what was in memory."""

from foreman.core.inventory import Runner
from foreman.core.job import LoadKey
from foreman.core.reload import Cause, Reason, cause_of
from foreman.core.residency import Load, Residency, Swap, plan
from tests.core.test_residency import INVENTORY, runner

A, B = LoadKey("a:latest"), LoadKey("b:latest")


def cause(key: LoadKey, residency: Residency, *, before: bool = False) -> Cause:
    need = plan(key, residency, INVENTORY, Swap.EXCLUSIVE, remote=False)
    assert isinstance(need, Load)
    return cause_of(need, residency, INVENTORY, before=before)


def held(*runners: Runner, loaded: LoadKey | None = None) -> Residency:
    residency = Residency() if loaded is None else Residency().with_loaded(loaded, Swap.EXCLUSIVE)
    return residency.observe(runners, INVENTORY)


def test_an_empty_memory_is_the_first_time_or_one_that_expired() -> None:
    assert cause(A, held()) == Cause(Reason.FIRST, (), {})
    assert cause(A, held(), before=True) == Cause(Reason.EXPIRED, (), {})


def test_another_model_had_to_go() -> None:
    found = cause(A, held(runner("b:latest"), loaded=B), before=True)
    assert found == Cause(Reason.OTHER_MODEL, ("b:latest",), {})


def test_options_that_differ_are_told_also_under_another_name() -> None:
    loaded = LoadKey("copy:latest", (("num_ctx", 2048), ("num_gpu", 4)))
    found = cause(LoadKey("a:latest", (("num_ctx", 8192),)), held(runner("copy:latest", 2048), loaded=loaded))
    assert found == Cause(Reason.OTHER_OPTIONS, (), {"num_ctx": (2048, 8192), "num_gpu": (4, None)})


def test_of_what_somebody_else_loaded_only_the_context_is_known() -> None:
    wanted = LoadKey("a:latest", (("num_batch", 9), ("num_ctx", 8192)))
    found = cause(wanted, held(runner("a:latest", 4096)))
    assert found == Cause(Reason.OTHER_OPTIONS, (), {"num_batch": (None, 9), "num_ctx": (4096, 8192)})


def test_an_embedding_model_has_not_to_go() -> None:
    assert cause(A, held(runner("vectors:latest"))).reason is Reason.FIRST
