"""What a running foreman has in its database, read from beside it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One job as it is stored."""

    id: str
    state: str
    model: str
    load_key: str


def rows(db: Path) -> list[Row]:
    """All jobs in order of arrival."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return [Row(*row) for row in connection.execute("SELECT id, state, model, load_key FROM jobs ORDER BY seq")]
