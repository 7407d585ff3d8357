"""Keys and scopes as values: what a key looks like, what it may, and whose jobs it sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core.access import (
    ALL,
    ANY,
    ID_LENGTH,
    OPEN,
    Caller,
    Key,
    Scope,
    base62,
    key_id_of,
    read_label,
    read_scopes,
    shown_scopes,
    token_of,
)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**47 - 1))
def test_a_key_is_told_by_its_id_and_holds_all_bits(secret: bytes, number: int) -> None:
    key_id = base62(number, ID_LENGTH)
    token = token_of(key_id, secret)
    assert key_id_of(token) == key_id
    assert (token[:3], len(token)) == ("fm_", 54)
    flipped = bytes([secret[0] ^ 0x80]) + secret[1:]
    assert token_of(key_id, flipped) != token


@pytest.mark.parametrize("text", ["", "fm_", "fm_" + "a" * 50, "fm_" + "a" * 52, "sk_" + "a" * 51, "fm_" + "-" * 51])
def test_what_cannot_be_a_key_has_no_id(text: str) -> None:
    assert key_id_of(text) is None


@given(st.frozensets(st.sampled_from(Scope), min_size=1))
def test_scopes_are_written_as_they_are_read(scopes: frozenset[Scope]) -> None:
    assert read_scopes(shown_scopes(scopes).split(",")) == scopes


@pytest.mark.parametrize("words", [[], [""], ["all"], ["infer", "Read"]])
def test_unknown_scopes_are_named(words: list[str]) -> None:
    with pytest.raises(ValueError, match="infer, read, manage, admin"):
        read_scopes(words)


@pytest.mark.parametrize("text", ["a" * 65, "a\nb", "\x1b[31m", "\u202e"])
def test_a_label_is_short_and_harmless(text: str) -> None:
    assert read_label("  a b ") == "a b"
    with pytest.raises(ValueError, match="printable"):
        read_label(text)


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_lets_in_where_it_is_needed_and_admin_everywhere(scope: Scope) -> None:
    caller = Caller("k", frozenset({scope}))
    for needed in Scope:
        assert caller.may(frozenset({needed})) is (scope in (needed, Scope.ADMIN))
    assert caller.may(ANY)
    assert caller.may(OPEN)
    assert not Caller("k", frozenset()).may(ANY)


def test_only_admin_sees_the_jobs_of_others() -> None:
    usual, admin = Caller("k", ALL - {Scope.ADMIN}), Caller("k", ALL)
    assert [usual.sees(key) for key in ("k", "other", "")] == [True, False, False]
    assert [admin.sees(key) for key in ("k", "other", "")] == [True, True, True]


def test_a_key_works_until_it_expires_or_is_revoked() -> None:
    key = Key("k", b"", ALL, "", 0, expires_at=10)
    assert [key.works(now) for now in (9, 10)] == [True, False]
    assert not Key("k", b"", ALL, "", 0, revoked_at=5).works(1)
