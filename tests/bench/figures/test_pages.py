import pytest

from bench.figures.pages import NO_RUN, pictures_of, run_shown, with_tables
from tests.bench.figures.samples import record

PAGE = f"# Costs\n\nBefore.\n\n<!-- tables of {NO_RUN} -->\n<!-- end of tables -->\n\nAfter.\n"


def test_tables_go_to_their_place_and_can_be_put_there_again() -> None:
    assert run_shown(PAGE) == NO_RUN
    shown = with_tables(PAGE, "bench/results/one.json", record(), "costs")
    assert run_shown(shown) == "bench/results/one.json"
    assert shown.startswith("# Costs\n\nBefore.\n\n<!-- tables of bench/results/one.json -->\n\n![Added")
    assert shown.endswith("<!-- end of tables -->\n\nAfter.\n")
    assert "## The budget" in shown
    assert all(f"]({name})" in shown for name in pictures_of(record(), "costs"))
    assert with_tables(shown, "bench/results/one.json", record(), "costs") == shown


def test_a_page_without_a_place_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_tables("# Costs\n", "one.json", record(), "costs")
