"""Where the demo looks: foreman's database, read only, and the ledger of the stub.

Both are read from outside, as anybody could: nothing is asked of foreman that it could tell better than it is.
"""

import hashlib
import sqlite3
import zlib
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from foreman.cli.children import DATABASE
from foreman.cli.demo_facts import Row, number_in

_ROWS: Final = """
SELECT jobs.id, jobs.state, jobs.load_key, payloads.body, results.enc, results.body
FROM jobs LEFT JOIN payloads USING (seq) LEFT JOIN results ON results.seq = jobs.seq AND results.complete = 1
ORDER BY jobs.seq
"""
_CHATS: Final = ("/api/chat", "/v1/chat/completions")


def rows(folder: Path) -> tuple[Row, ...]:
    """All jobs in this folder's database, in order of arrival, whether foreman runs or is dead."""
    db = folder / DATABASE
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(_ROWS).fetchall()
    return tuple(
        Row(number_in(body or b"") or 0, id_, state, key, _digest(enc, answer))
        for id_, state, key, body, enc, answer in found
    )


def _digest(enc: int | None, body: bytes | None) -> str:
    if body is None:
        return ""
    return hashlib.sha256(zlib.decompress(body) if enc else body).hexdigest()


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the target saw. `order` holds the chats as they arrived there, an interrupted one twice.

    `chunks` counts what was sent of the newest try of each chat, `sent` holds the SHA-256 of the whole answers.
    """

    loads: int
    most_at_once: int
    order: tuple[int, ...]
    chunks: dict[int, int]
    sent: dict[int, frozenset[str]]


NOTHING: Final = Ledger(0, 0, (), {}, {})


async def ledger(session: aiohttp.ClientSession, url: str) -> Ledger:
    """Raises aiohttp.ClientError when the stub does not answer."""
    async with session.get(f"{url}/_stub/ledger") as response:
        found: dict[str, Any] = await response.json()
    order: list[int] = []
    chunks: dict[int, int] = {}
    sent: defaultdict[int, set[str]] = defaultdict(set)
    for entry in found["entries"]:
        number = number_in(entry["body"].encode()) if entry["path"] in _CHATS else None
        if number is None:
            continue
        order.append(number)
        chunks[number] = entry["chunks"]
        if entry["ending"] == "complete":
            sent[number].add(entry["sha256"])
    whole = {number: frozenset(digests) for number, digests in sent.items()}
    return Ledger(len(found["loads"]), found["max_concurrent"], tuple(order), chunks, whole)
