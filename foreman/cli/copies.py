"""`foreman backup` and `foreman restore`: what was copied, where, and what becomes of it."""

import time
from pathlib import Path

from foreman.engine.copies import Copied, back_up, restore


def run(command: str, file: Path, database: Path) -> int:
    """Copy the database to the file, or the file to the database. Raises StoreUnusable."""
    if command == "backup":
        print(f"{_said(back_up(database, file))} copied to {file}")
        return 0
    copied, old = restore(file, database, time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    print(f"{_said(copied)} put back as {database}")
    if old is not None:
        print(f"the database that was there is kept as {old}")
    if copied.unfinished:
        print("what is unfinished goes on when foreman starts")
    return 0


def _said(copied: Copied) -> str:
    return f"{copied.bytes / 1e6:.1f} MB with {copied.jobs} jobs, {copied.unfinished} of them unfinished,"
