from collections.abc import Sequence

from bench.figures.record import Record
from bench.figures.sections import sections
from bench.figures.tables import Section
from tests.bench.figures.samples import record


def rows(found: Sequence[Section], title: str) -> list[list[str]]:
    (table,) = (section.table for section in found if section.title == title)
    assert table is not None
    assert all(len(row) == len(table.head) for row in table.rows)
    return [list(row) for row in table.rows]


def test_every_part_of_a_run_has_its_section() -> None:
    found = sections(record())
    assert rows(found, "Clients that wait") == [["10,000", "5.00", "1.00", "2.50 (1.50 to 3.50)"]]
    assert rows(found, "Work handed in") == [["10,000", "0.50", "20,000"]]
    assert rows(found, "Claims") == [["100", "200", "400"], ["1,000,000", "220", "440"]]
    assert rows(found, "Restart") == [["0", "0.20"], ["100,000", "0.40"]]
    assert rows(found, "Pauses of the event loop")[1] == ["much", "2,000", "0.20", "1.00", "11.0", "20.0", "0.30"]
    assert rows(found, "Mixed models: two models")[:2] == [
        ["direct", "16.0", "3.00", "2.50", "0", "0"],
        ["foreman", "2.00", "3.00", "2.50", "0", "0"],
    ]
    assert ["nginx", "not here"] in rows(found, "The machine")


def test_clients_that_could_not_be_had_are_named() -> None:
    found = record()
    found.settings = {**found.settings, "crowds": [10_000, 50_000]}
    notes = {section.title: section.notes for section in sections(found)}
    assert notes["Clients that wait"] == ("50,000 clients: more files than may be open here",)
    assert notes["Pauses of the event loop"] == ("50,000 clients: more files than may be open here",)


def test_the_budget_shows_the_lines_of_the_parts_that_ran() -> None:
    assert len(rows(sections(record()), "The budget")) == 15
    alone = record()
    alone.settings = {"parts": ["mixed"]}
    assert rows(sections(alone), "The budget")[0] == [
        "mixed models: loads done by loads needed",
        *["1 x"] * 2,
        "1.00",
        "goal",
    ]


def test_nothing_is_said_of_parts_that_did_not_run() -> None:
    assert sections(Record()) == []
