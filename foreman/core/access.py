"""Who asks, and what he may: scopes, keys, and which jobs are whose.

A key is `fm_`, eight characters that name it, and 43 more that hold 256 bits; base62 all of it. Only a hash is kept,
and a plain SHA-256 is enough: nobody guesses 256 bits.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH: Final = 8
SECRET_LENGTH: Final = 43  # 62**43 is above 2**256
_TOKEN: Final = re.compile(rf"fm_([0-9A-Za-z]{{{ID_LENGTH}}})[0-9A-Za-z]{{{SECRET_LENGTH}}}")
LABEL_LENGTH: Final = 64


class Scope(StrEnum):
    """What a key may. `admin` may everything and sees everybody's jobs."""

    INFER = "infer"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


Needs = frozenset[Scope]
# What a route may need: one of these scopes. With OPEN nobody is asked, with ANY every key will do.
OPEN: Final[Needs] = frozenset()
ANY: Final[Needs] = frozenset(Scope)
ALL: Final = frozenset(Scope)
USUAL: Final = frozenset({Scope.INFER, Scope.READ})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a key by its id, or whoever is let in without one, whose id is empty."""

    key_id: str = ""
    scopes: frozenset[Scope] = ALL
    label: str = ""

    def may(self, needs: Needs) -> bool:
        return not needs or Scope.ADMIN in self.scopes or bool(self.scopes & needs)

    @property
    def sees_all(self) -> bool:
        return Scope.ADMIN in self.scopes

    def sees(self, key_id: str) -> bool:
        """Whether a job of this key is shown."""
        return self.sees_all or key_id == self.key_id


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. Times are unix milliseconds."""

    id: str
    digest: bytes
    scopes: frozenset[Scope]
    label: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    def works(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def caller(self) -> Caller:
        return Caller(self.id, self.scopes, self.label)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was done for a key: jobs that came to an end, tokens of those that were answered, time at work."""

    jobs: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    busy_ms: int = 0


def token_of(key_id: str, secret: bytes) -> str:
    """The key as its owner gets it; `secret` are 32 random bytes."""
    return f"fm_{key_id}{base62(int.from_bytes(secret), SECRET_LENGTH)}"


def base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_LETTERS))
        digits.append(_LETTERS[digit])
    return "".join(reversed(digits))


def key_id_of(token: str) -> str | None:
    """The id in a key; None for what cannot be one."""
    match = _TOKEN.fullmatch(token)
    return None if match is None else match[1]


def read_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Raises ValueError, saying what there is."""
    found = [word.strip() for word in words if word.strip()]
    if not found:
        raise ValueError(f"must name one or more of {', '.join(Scope)}")
    unknown = next((word for word in found if word not in frozenset(Scope)), None)
    if unknown is not None:
        raise ValueError(f"must be among {', '.join(Scope)}; there is no {unknown[:40]!r}")
    return frozenset(map(Scope, found))


def shown_scopes(scopes: frozenset[Scope]) -> str:
    return ",".join(scope for scope in Scope if scope in scopes)


def read_label(text: str) -> str:
    """Raises ValueError."""
    label = text.strip()
    if len(label) > LABEL_LENGTH or not label.isprintable():
        raise ValueError(f"must be up to {LABEL_LENGTH} printable characters")
    return label
