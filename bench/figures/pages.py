"""The place in a page where the tables of a run stand, between two marks, so that no figure is copied by hand. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from bench.figures.charts import Chart, charts
from bench.figures.record import Record
from bench.figures.sections import sections
from bench.figures.tables import as_markdown

NO_RUN: Final = "no run yet"
_PLACE: Final = re.compile(r"<!-- tables of (.+?) -->\n(.*?)<!-- end of tables -->", re.DOTALL)


def run_shown(page: str) -> str:
    """The file of the run whose tables the page shows, or NO_RUN. Raises ValueError where there is no place for one."""
    if (place := _PLACE.search(page)) is None:
        raise ValueError("the page has no place for tables")
    return place[1]


def with_tables(page: str, file: str, record: Record, stem: str) -> str:
    """The page with the tables of a run in their place; the names of its pictures, beside it, begin with `stem`."""
    run_shown(page)
    pictures = "".join(f"![{chart.title}]({name})\n\n" for name, chart in pictures_of(record, stem).items())
    text = f"<!-- tables of {file} -->\n\n{pictures}{as_markdown(sections(record))}\n<!-- end of tables -->"
    return _PLACE.sub(lambda _: text, page, count=1)


def pictures_of(record: Record, stem: str) -> Mapping[str, Chart]:
    """The pictures of a run by the names of their files."""
    return {f"{stem}-{name}.svg": chart for name, chart in charts(record).items()}
