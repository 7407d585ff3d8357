"""The keys in force: known in memory, kept in the database.

Rules:
1. Once there is a key that was not revoked, expired or not, everybody is asked for one: what runs out must not open
   the door.
2. A key is looked up by its id and compared by its hash in constant time; nothing is read from the disk for it.
3. When a key was last used is written down now and then, and at the end.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from foreman.core.access import ALL, ID_LENGTH, Caller, Key, Scope, Usage, base62, key_id_of, shown_scopes, token_of
from foreman.core.errors import KeyNotFound
from foreman.engine.clock import Clock, millis
from foreman.engine.store import Store
from foreman.log import log_event

log = logging.getLogger(__name__)

_NOBODY: Final = bytes(32)


class Keyring:
    """All keys. `secrets_` are those that are in no database: whoever has one may everything."""

    def __init__(self, store: Store, clock: Clock, secrets_: Iterable[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._secrets = [_digest(secret) for secret in secrets_]
        self._keys: dict[str, Key] = {}
        self._used: dict[str, int] = {}
        self._asked = bool(self._secrets)

    def __repr__(self) -> str:
        return f"<Keyring {len(self._keys)} keys>"

    def add_secret(self, secret: str) -> None:
        """One more that may everything; that it is there asks nobody else for a key."""
        self._secrets.append(_digest(secret))

    async def start(self) -> None:
        self._keys = {key.id: key for key in await self._store.keys()}

    @property
    def demanded(self) -> bool:
        """Whether everybody is asked for a key."""
        return self._asked or any(key.revoked_at is None for key in self._keys.values())

    def caller(self, token: str) -> Caller | None:
        """Whose key this is; None for an unknown, an expired and a revoked one."""
        digest = _digest(token)
        # All of them each time, so that the time tells nothing.
        if sum([hmac.compare_digest(digest, secret) for secret in self._secrets]):
            return Caller("", ALL)
        key = self._keys.get(key_id_of(token) or "")
        right = hmac.compare_digest(digest, _NOBODY if key is None else key.digest)
        now = millis(self._clock)
        if key is None or not right or not key.works(now):
            return None
        self._used[key.id] = now
        return key.caller

    def caller_of(self, key_id: str) -> Caller | None:
        """The same of a key that has shown itself before; the empty id is that of a secret."""
        if not key_id:
            return Caller("", ALL)
        key = self._keys.get(key_id)
        return None if key is None or not key.works(millis(self._clock)) else key.caller

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

    async def listed(self) -> Sequence[tuple[Key, Usage]]:
        """All there ever were, the oldest first, with what was done for each."""
        usage = await self._store.usage_of_keys()
        return [(self._seen(key), usage.get(key.id, Usage())) for key in self._keys.values()]

    async def write_down(self) -> None:
        """When each was last used."""
        used, self._used = self._used, {}
        if used:
            self._keys.update({key_id: replace(self._keys[key_id], last_used_at=at) for key_id, at in used.items()})
            await self._store.note_use(used)

    def _seen(self, key: Key) -> Key:
        return replace(key, last_used_at=self._used.get(key.id, key.last_used_at))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
