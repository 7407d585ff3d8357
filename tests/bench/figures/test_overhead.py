from bench.figures.overhead import overhead_sections
from bench.figures.record import Record
from tests.bench.figures.samples import WORKLOADS, record


def test_each_workload_has_a_table_of_what_each_way_adds() -> None:
    _, *tables, _ = overhead_sections(record())
    assert [table.title for table in tables] == [f"{name}: what {name} shows" for name in WORKLOADS]
    lone = tables[0].table
    assert lone is not None
    assert lone.head == [
        "us",
        "first token p50 / p90 / p99",
        "last byte p50 / p90 / p99",
        "chunk delay p50 / p90 / p99",
        "CPU",
        "requests/s",
        "MB",
    ]
    assert list(lone.rows)[:2] == [
        ["direct", "50.0 / 50.0 / 50.0", "60.0 / 60.0 / 60.0", "10.0 / 10.0 / 10.0", "-", "1,000", "-"],
        ["nginx", "+100 / 100 / 100", "+100 / 100 / 100", "20.0 / 20.0 / 20.0", "30.0", "9.90", "10.0"],
    ]


def test_ratios_are_foremans_and_only_of_lone_clients_for_first_tokens() -> None:
    ratios = overhead_sections(record())[-1].table
    assert ratios is not None
    found = {row[0]: list(row[1:]) for row in ratios.rows}
    assert found["lone"] == ["2.00", "0.67", "1.10", "2.50", "0.50"]
    assert found["clients-8"][:2] == ["-", "-"]


def test_rates_that_are_not_a_ways_own_are_marked() -> None:
    notes = {section.title: section.notes for section in overhead_sections(record())}
    assert notes["lone: what lone shows"] == ()
    assert notes["saturation: what saturation shows"] == ()
    slow = record()
    slow.turns = [turn for turn in slow.turns if turn.subject != "direct"] + [
        type(turn)(turn.workload, turn.subject, turn.round, 1, {**turn.figures, "rate": 12.0})
        for turn in slow.turns
        if turn.subject == "direct"
    ]
    (note, *_) = next(section.notes for section in overhead_sections(slow) if section.title.startswith("saturation"))
    assert note.startswith("nginx: the direct way is only 1.21 times as fast")


def test_a_run_without_nginx_says_so() -> None:
    found = record()
    assert overhead_sections(found)[0].notes == ()
    found.turns = [turn for turn in found.turns if turn.subject != "nginx"]
    opening, *_, ratios = overhead_sections(found)
    assert opening.notes == ("nginx is not installed here, so nothing is compared with it",)
    assert ratios.table is not None
    assert not any("nginx" in cell for cell in ratios.table.head)


def test_a_run_without_turns_has_no_section() -> None:
    assert overhead_sections(Record()) == []
