"""What the store does with keys inside a transaction; see steps.py for the rules of a step."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from foreman.core.access import Key, Scope, shown_scopes
from foreman.engine import statements as sql


def key_of(row: tuple[Any, ...]) -> Key:
    """A Key from a row of sql.KEYS."""
    id_, digest, scopes, label, created_at, expires_at, revoked_at, last_used_at = row
    words = frozenset(map(Scope, scopes.split(",")))
    return Key(id_, digest, words, label, created_at, expires_at, revoked_at, last_used_at)


def keep_key(db: sqlite3.Connection, key: Key) -> None:
    values = (key.id, key.digest, shown_scopes(key.scopes), key.label, key.created_at, key.expires_at)
    db.execute(sql.KEEP_KEY, values)


def revoke_key(db: sqlite3.Connection, key_id: str, at: int) -> None:
    db.execute(sql.REVOKE_KEY, (at, key_id))


def forget_key(db: sqlite3.Connection, key_id: str) -> None:
    db.execute(sql.FORGET_KEY, (key_id,))


def note_use(db: sqlite3.Connection, used: Mapping[str, int]) -> None:
    db.executemany(sql.NOTE_USE, [(at, key_id) for key_id, at in used.items()])
