from dataclasses import fields

from bench.figures.budget import CROWD, DEEP, RESTART_ROWS, SHALLOW
from bench.scale import FULL, QUICK


def test_a_full_run_measures_what_the_budget_asks_for() -> None:
    assert CROWD in FULL.crowds
    assert {SHALLOW, DEEP} <= set(FULL.depths)
    assert FULL.restart_rows == RESTART_ROWS


def test_a_quick_run_is_less_of_everything() -> None:
    for field in fields(FULL):
        full, quick = getattr(FULL, field.name), getattr(QUICK, field.name)
        assert (max(quick) < max(full)) if isinstance(full, tuple) else (quick < full), field.name
