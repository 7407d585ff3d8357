"""The committed runs, and the page that shows the newest of them: no figure in it is written by hand."""

from pathlib import Path

import pytest

from bench.figures.pages import NO_RUN, pictures_of, run_shown, with_tables
from bench.figures.record import Record
from bench.parts.run import PARTS
from bench.scale import FULL

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = sorted((ROOT / "bench" / "results").glob("*.json"))


def test_the_page_shows_the_newest_run() -> None:
    newest = RESULTS[-1].relative_to(ROOT).as_posix() if RESULTS else NO_RUN
    assert run_shown(PAGE.read_text()) == newest


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_a_committed_run_is_a_whole_one(file: Path) -> None:
    record = Record.read(file.read_bytes())
    assert set(record.settings["parts"]) == set(PARTS)
    assert tuple(record.settings["crowds"]) == FULL.crowds
    assert tuple(record.settings["depths"]) == FULL.depths
    assert record.settings["seconds"] >= FULL.seconds
    assert record.machine["commit"]
    assert file.stem.startswith(record.machine["at"][:10])


@pytest.mark.parametrize("file", RESULTS[-1:], ids=lambda file: file.stem)
def test_tables_and_pictures_are_those_of_the_run(file: Path) -> None:
    record, page = Record.read(file.read_bytes()), PAGE.read_text()
    assert with_tables(page, run_shown(page), record, PAGE.stem) == page
    for name, chart in pictures_of(record, PAGE.stem).items():
        assert PAGE.with_name(name).read_text() == chart.svg()
