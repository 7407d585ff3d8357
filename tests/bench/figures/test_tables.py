from bench.figures.spread import Spread
from bench.figures.tables import Section, Table, as_markdown, as_text, median, number, spread_text

TABLE = Table(("way", "us", "x"), [("direct", "1", "-"), ("foreman", "1,000", "-")])


def test_numbers_show_three_digits() -> None:
    values = [0.0, 0.126, 9.994, 12.34, 123.4, 12345.0, -1.26]
    assert [number(value) for value in values] == ["0.00", "0.13", "9.99", "12.3", "123", "12,345", "-1.26"]


def test_a_spread_is_shown_where_there_is_one() -> None:
    assert spread_text(Spread(2.0, 1.0, 3.0)) == "2.00 (1.00 to 3.00)"
    assert spread_text(Spread(2.0, 2.0, 2.0)) == "2.00"
    assert spread_text(None) == median(None) == "-"


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    assert TABLE.filled() == Table(["way", "us"], [["direct", "1"], ["foreman", "1,000"]])


def test_text_is_aligned() -> None:
    text = as_text([Section("Costs", "In us.", TABLE, ("a note",)), Section("More", level=3)])
    assert text.splitlines() == [
        "COSTS",
        "In us.",
        "  way         us  x",
        "  direct       1  -",
        "  foreman  1,000  -",
        "  a note",
        "",
        "More",
    ]


def test_markdown_is_a_table_with_numbers_to_the_right() -> None:
    assert as_markdown([Section("Costs", "In us.", TABLE, ("a note",), level=3)]) == (
        "### Costs\n\nIn us.\n\n"
        "| way | us | x |\n|---|---:|---:|\n| direct | 1 | - |\n| foreman | 1,000 | - |\n\n"
        "- a note\n"
    )
