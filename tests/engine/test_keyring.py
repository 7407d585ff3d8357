"""The keys in force: who is let in, what a change does at once, and what is on disk when it returns."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from foreman.core.access import ALL, USUAL, Scope
from foreman.core.errors import KeyNotFound
from foreman.core.job import Next, Stats
from foreman.engine.clock import millis
from foreman.engine.keyring import GIVEN, LOCAL, NEIGHBOUR, STRANGER, Door, Keyring
from foreman.engine.sqlite import SqliteStore
from tests.engine.clock import HandClock
from tests.engine.stored import done, job_id, new_job

GIVEN_KEY = "a-key-that-people-chose"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "foreman.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore.open(path, "boot-1") as store:
        yield store


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def keyring(store: SqliteStore, clock: HandClock) -> Keyring:
    return Keyring(store, clock)


async def test_without_any_key_nobody_is_asked_and_what_is_sent_opens_nothing(keyring: Keyring) -> None:
    assert not keyring.demanded
    assert keyring.anybody is NEIGHBOUR
    assert keyring.caller("ollama") is None
    assert keyring.caller("") is None


@pytest.mark.parametrize(("door", "demanded"), [(Door.LOCAL, False), (Door.SHUT, True), (Door.OPEN, False)])
async def test_where_others_connect_a_key_is_needed_though_there_is_none(
    store: SqliteStore, clock: HandClock, door: Door, demanded: bool
) -> None:
    keyring = Keyring(store, clock, door=door)
    assert keyring.demanded is demanded
    assert (keyring.anybody is STRANGER) is (door is Door.OPEN)
    assert STRANGER.scopes == USUAL
    assert Keyring(store, clock, GIVEN_KEY, door).demanded


async def test_a_key_opens_at_once_until_it_is_revoked(keyring: Keyring) -> None:
    token, key = await keyring.create("page", USUAL, None)
    caller = keyring.caller(token)
    assert caller is not None
    assert (caller.key_id, caller.scopes, caller.label) == (key.id, USUAL, "page")
    assert keyring.caller(token[:-1] + ("0" if token[-1] != "0" else "1")) is None
    assert keyring.caller_of(key.id) == caller
    await keyring.revoke(key.id)
    assert keyring.caller(token) is keyring.caller_of(key.id) is None
    assert keyring.demanded


async def test_a_key_ends_with_its_time(keyring: Keyring, clock: HandClock) -> None:
    token, _ = await keyring.create("", ALL, millis(clock) + 60_000)
    assert keyring.caller(token) is not None
    clock._now += 61
    assert keyring.caller(token) is None
    assert keyring.demanded


async def test_keys_are_known_to_the_next_process_and_their_text_is_in_no_file(
    keyring: Keyring, store: SqliteStore, clock: HandClock, path: Path
) -> None:
    token, key = await keyring.create("", frozenset({Scope.MANAGE}), None)
    other, gone = await keyring.create("", USUAL, None)
    await keyring.revoke(gone.id)
    following = Keyring(store, clock)
    assert not following.demanded
    await following.start()
    assert following.caller(token) == key.caller
    assert following.caller(other) is None
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert key.digest in content
    assert token.encode() not in content
    assert token[11:].encode() not in content


async def test_only_a_revoked_key_is_forgotten_and_with_the_last_one_nobody_is_asked(
    keyring: Keyring, store: SqliteStore
) -> None:
    _, key = await keyring.create("", USUAL, None)
    with pytest.raises(KeyNotFound):
        await keyring.forget(key.id)
    assert [each.id for each in await store.keys()] == [key.id]
    await keyring.revoke(key.id)
    await keyring.forget(key.id)
    assert not keyring.demanded
    assert list(await store.keys()) == []
    for change in (keyring.forget, keyring.revoke):
        with pytest.raises(KeyNotFound):
            await change(key.id)


async def test_the_given_key_and_that_of_the_commands_may_everything(store: SqliteStore, clock: HandClock) -> None:
    keyring = Keyring(store, clock, GIVEN_KEY)
    assert keyring.caller(GIVEN_KEY) is GIVEN
    # Where somebody guesses, it is not looked at.
    assert keyring.caller(GIVEN_KEY, given=False) is None
    assert keyring.caller("local") is None
    keyring.add_local("secret")
    assert keyring.caller("secret", given=False) is LOCAL
    assert [keyring.caller_of(name) for name in ("file", "local", "other")] == [GIVEN, LOCAL, None]


async def test_when_a_key_was_used_is_written_down_later(
    keyring: Keyring, store: SqliteStore, clock: HandClock
) -> None:
    token, _ = await keyring.create("", USUAL, None)
    keyring.caller(token)
    ((shown, _),) = await keyring.listed()
    assert shown.last_used_at == millis(clock)
    assert [each.last_used_at for each in await store.keys()] == [None]
    await keyring.write_down()
    assert [each.last_used_at for each in await store.keys()] == [shown.last_used_at]


async def test_what_was_done_stays_told_when_the_jobs_are_gone(keyring: Keyring, store: SqliteStore) -> None:
    _, key = await keyring.create("", USUAL, None)
    _, idle = await keyring.create("", USUAL, None)
    for number in (1, 2):
        await store.submit(new_job(number, key_id=key.id))
        claim = await store.claim(Next(), 5_000)
        assert claim is not None
        await store.finish(claim.job.seq, done(stats=Stats(total_ms=1500, prompt_tokens=3, output_tokens=4)))
    before = {each.id: usage for each, usage in await keyring.listed()}
    usage = before[key.id]
    assert (usage.jobs, usage.prompt_tokens, usage.output_tokens, usage.busy_ms) == (2, 6, 8, 3000)
    assert before[idle.id].jobs == 0
    assert await store.forget(job_id(1))
    while await store.prune(10**15, 0):
        pass
    assert await store.get(job_id(2)) is None
    assert {each.id: usage for each, usage in await keyring.listed()} == before
