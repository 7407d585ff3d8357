"""The keys in force: known in memory, kept in the database.

Rules:
1. Once there is a key everybody is asked for one, also where all of them are expired or revoked: that a key ends must
   not open the door. Where others than this machine can connect, nobody gets in without one.
2. A key is looked up by its id and compared by its hash in constant time; nothing is read from the disk for it.
3. When a key was last used is written down now and then, and at the end.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from foreman.core.access import (
    ALL,
    ID_LENGTH,
    USUAL,
    Caller,
    Key,
    Scope,
    Usage,
    base62,
    key_id_of,
    shown_scopes,
    token_of,
)
from foreman.core.errors import KeyNotFound, StorageFailed, StorageFull
from foreman.engine.clock import Clock, millis
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

_NOBODY: Final = bytes(32)  # the hash of nothing
# Whose jobs are those that come with the key of the file, and with that of the commands.
GIVEN: Final = Caller("file", ALL, "api_key_file")
LOCAL: Final = Caller("local", ALL, "the commands of this machine")
# Who comes without a key where none is asked for: on this machine, and where everybody may connect.
NEIGHBOUR: Final = Caller()
STRANGER: Final = Caller("", USUAL)


class Door(Enum):
    """Who can connect: this machine alone, others too but not without a key, or everybody."""

    LOCAL = "local"
    SHUT = "shut"
    OPEN = "open"


class Keyring:
    """All keys. `given` is one that is in no database: whoever has it may everything."""

    def __init__(self, store: Store, clock: Clock, given: str | None = None, door: Door = Door.LOCAL) -> None:
        self._store = store
        self._clock = clock
        self._door = door
        self._given = None if given is None else _digest(given)
        self._local: bytes | None = None
        self._keys: dict[str, Key] = {}
        self._used: dict[str, int] = {}
        self.anybody = STRANGER if door is Door.OPEN else NEIGHBOUR

    def __repr__(self) -> str:
        return f"<Keyring {len(self._keys)} keys>"

    def add_local(self, secret: str) -> None:
        """The random key of this machine's own commands, which may everything; nobody else is asked for one by it."""
        self._local = _digest(secret)

    async def start(self) -> None:
        self._keys = {key.id: key for key in await self._store.keys()}

    @property
    def demanded(self) -> bool:
        """Whether everybody is asked for a key."""
        return self._door is Door.SHUT or self.any

    @property
    def any(self) -> bool:
        """Whether there is a key, whatever has become of it."""
        return self._given is not None or bool(self._keys)

    def caller(self, token: str, *, given: bool = True) -> Caller | None:
        """Whose key this is; None for an unknown, an expired and a revoked one.

        Without `given`, the one that people may have chosen themselves is not looked at.
        """
        digest = _digest(token)
        # All of them each time, so that the time tells nothing.
        local = hmac.compare_digest(digest, self._local or _NOBODY)
        chosen = hmac.compare_digest(digest, self._given or _NOBODY)
        key = self._keys.get(key_id_of(token) or "")
        right = hmac.compare_digest(digest, _NOBODY if key is None else key.digest)
        if local or (chosen and given):
            return LOCAL if local else GIVEN
        now = millis(self._clock)
        if key is None or not right or not key.works(now):
            return None
        self._used[key.id] = now
        return key.caller

    def caller_of(self, key_id: str) -> Caller | None:
        """The same of a key that has shown itself before, by its id."""
        now, key = millis(self._clock), self._keys.get(key_id)
        if key is None:
            return next((caller for caller in (GIVEN, LOCAL) if caller.key_id == key_id), None)
        if not key.works(now):
            return None
        self._used[key.id] = now
        return key.caller

    async def create(self, label: str, scopes: frozenset[Scope], expires_at: int | None) -> tuple[str, Key]:
        """A new key, which is told this once, and what is kept of it. On return it is on disk."""
        secret = secrets.token_bytes(32)
        key_id = base62(secrets.randbits(47), ID_LENGTH)
        token = token_of(key_id, secret)
        key = Key(key_id, _digest(token), scopes, label, millis(self._clock), expires_at)
        await self._store.keep_key(key)
        self._keys[key.id] = key
        log_event(log, logging.INFO, "key_created", "a key was created", key=key.id, scopes=shown_scopes(scopes))
        return token, key

    async def revoke(self, key_id: str) -> Key:
        """It lets nobody in any more; on return that is on disk. Raises KeyNotFound."""
        key = self._keys.get(key_id)
        if key is None:
            raise KeyNotFound(f"there is no key {key_id[:40]}")
        if key.revoked_at is None:
            key = replace(key, revoked_at=millis(self._clock))
            self._keys[key_id] = key
            await self._store.revoke_key(key_id, key.revoked_at or 0)
            log_event(log, logging.INFO, "key_revoked", "a key was revoked", key=key_id)
        return key

    async def forget(self, key_id: str) -> None:
        """Delete a revoked key; with the last one gone, nobody on this machine is asked. Raises KeyNotFound."""
        key = self._keys.get(key_id)
        if key is None or key.revoked_at is None:
            raise KeyNotFound(f"there is no revoked key {key_id[:40]}")
        await self._store.forget_key(key_id)
        del self._keys[key_id]
        self._used.pop(key_id, None)
        log_event(log, logging.INFO, "key_forgotten", "a revoked key was deleted", key=key_id)

    async def listed(self) -> Sequence[tuple[Key, Usage]]:
        """All there ever were, the oldest first, with what was done for each."""
        usage = await self._store.usage_of_keys()
        return [(self._seen(key), usage.get(key.id, Usage())) for key in self._keys.values()]

    async def write_down(self) -> None:
        """When each was last used; what cannot be written down is not told after the next start."""
        used, self._used = self._used, {}
        if not used:
            return
        self._keys.update({key_id: replace(self._keys[key_id], last_used_at=at) for key_id, at in used.items()})
        try:
            await self._store.note_use(used)
        except (StorageFull, StorageFailed) as error:
            log_event(log, logging.WARNING, "use_not_noted", "when keys were used was not written down", error=error)

    def _seen(self, key: Key) -> Key:
        return replace(key, last_used_at=self._used.get(key.id, key.last_used_at))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
