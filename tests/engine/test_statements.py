"""The plans of the statements, pinned, and the order of the claim against the plain way to say it."""

import json
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foreman.core.job import Hot, JobState, Next
from foreman.core.lanes import ANY_AGE
from foreman.engine import migrations, statements, steps
from foreman.engine.store import JobFilter

# What scans an index on purpose: figures of the whole queue, once at the start or over a bounded number of rows.
SCANS = {
    "DEPTH", "FINISHED_BYTES", "OLDEST_FINISHED", "OLDEST_QUEUED", "DROP_ATTACHED", "RECOVER", "RECOVER_ATTEMPTS",
    "REPEATABLE", "READY_KEYS", "TAKE_OVER", "ACTIVE", "OLDEST_BY_MODEL",
}  # fmt: skip
# The delayed jobs that are ready now are few, and so are the samples.
SORTS = {"DEPTH", "WAITING", "READY_KEYS", "SAMPLES", "TRIM_SAMPLES", "OLDEST_BY_MODEL"}
STATEMENTS = {
    name: text for name, text in vars(statements).items() if name.isupper() and name != "COLUMNS" and name[0] != "_"
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations.migrate(connection, Path("unused"))
        yield connection


def fill(db: sqlite3.Connection, rows: int) -> None:
    """As many queued, delayed and finished jobs, of three models and six load keys."""
    db.execute("BEGIN")
    for state, not_before, finished_at in (("done", 0, 5), ("queued", 0, None), ("queued", 9, None)):
        db.executemany(
            "INSERT INTO jobs (id, state, lane, model, load_key, path, mode, client, max_attempts, not_before,"
            " created_at, finished_at, bytes) VALUES (printf('%026d', ?), ?, 'local', ?, ?, '/', 'detached', '', 3,"
            " ?, 1, ?, 10)",
            [
                (db.total_changes + n, state, f"m{n % 3}", f"m{n % 3}?num_ctx={n % 6}", not_before, finished_at)
                for n in range(rows)
            ],
        )
    db.execute("COMMIT")


def plan(db: sqlite3.Connection, text: str) -> list[str]:
    values = dict.fromkeys(re.findall(r":(\w+)", text), "[]")
    bound = values if ":" in text else ("[]",) * text.count("?")
    return [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + text, bound)]


@pytest.mark.parametrize("filled", ["empty", "full", "analyzed", "analyzed empty"])
def test_no_statement_scans_or_sorts_the_jobs(db: sqlite3.Connection, filled: str) -> None:
    if "empty" not in filled:
        fill(db, 1_000)
    if "analyzed" in filled:
        db.execute("ANALYZE")
    for name, text in STATEMENTS.items():
        lines = plan(db, text)
        for line in lines:
            assert not line.startswith("SCAN jobs") or (name in SCANS and "INDEX" in line), (name, lines)
            assert "TEMP B-TREE" not in line or name in SORTS, (name, lines)
            assert "INDEX jobs_by_" not in line or name.startswith("LIST_"), (name, lines)


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("name", ["CLAIM", "CLAIM_ADMITTED"])
def test_the_claim_is_a_handful_of_probes(db: sqlite3.Connection, filled: bool, name: str) -> None:
    if filled:
        fill(db, 1_000)
        db.execute("ANALYZE")
    lines = [line.replace("COVERING ", "") for line in plan(db, STATEMENTS[name]) if " jobs " in line]
    assert sorted(lines) == [
        "SEARCH jobs USING INDEX jobs_active (<expr>=?)",
        "SEARCH jobs USING INDEX jobs_ready (lane=? AND seq<?)",
        "SEARCH jobs USING INDEX jobs_ready_key (lane=? AND load_key=? AND seq<?)",
        "SEARCH jobs USING INDEX jobs_ready_model (lane=? AND model=? AND seq<?)",
        "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)",
    ]


@pytest.mark.parametrize("filled", [False, True])
def test_a_list_reads_an_index_down_and_then_its_rows(db: sqlite3.Connection, filled: bool) -> None:
    if filled:
        fill(db, 1_000)
        db.execute("ANALYZE")
    rows = "SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"
    for text, index, arms in (
        (statements.LIST_OF_CLIENT, "jobs_by_client (client=? AND seq<?)", 1),
        (statements.LIST_OF_MODEL, "jobs_by_model (model=? AND seq<?)", 1),
        (statements.LIST_OF_STATES, "jobs_by_state (state=? AND seq<?)", len(JobState)),
    ):
        lines = [line for line in plan(db, text) if " jobs " in line]
        assert lines == [rows] + [f"SEARCH jobs USING COVERING INDEX {index}"] * arms


def work(db: sqlite3.Connection, text: str, values: dict[str, Any] | tuple[Any, ...]) -> int:
    """How many instructions of SQLite's machine a query takes."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    db.set_progress_handler(step, 1)
    db.execute(text, values).fetchall()
    db.set_progress_handler(None, 1)
    return count


SEARCHES = (
    JobFilter(),
    JobFilter(frozenset({JobState.FAILED})),
    JobFilter(frozenset({JobState.QUEUED, JobState.DONE}), before=5_000),
    JobFilter(frozenset({JobState.LOADING}), client="", model="m1"),
    JobFilter(model="m1"),
    JobFilter(model="none"),
    JobFilter(client="", model="m1"),
    JobFilter(client="nobody"),
    JobFilter(since=1),
)


def test_a_list_takes_no_longer_among_many(db: sqlite3.Connection) -> None:
    def costs() -> list[int]:
        return [work(db, *steps.search(wanted, 50)) for wanted in SEARCHES]

    fill(db, 1_000)
    few = costs()
    fill(db, 9_000)
    assert few[0] > 1_000
    assert all(many <= 1.2 * one + 100 for one, many in zip(few, costs(), strict=True)), (few, costs())


def test_a_claim_and_the_end_of_a_job_take_no_longer_among_many(db: sqlite3.Connection) -> None:
    def costs() -> list[int]:
        db.execute("BEGIN")
        now = {"now": 1, "owner": "me", "before": ANY_AGE, "load_keys": '["m1"]', "models": '["m1"]'}
        promote, claim = work(db, statements.PROMOTE.replace("?", ":now"), now), work(db, statements.CLAIM, now)
        ((seq,),) = db.execute("SELECT seq FROM jobs WHERE state='loading'").fetchall()
        finish = work(db, statements.FINISH, (1, 200, "{}", 1, 1, "done", None, None, seq, "me", True))
        db.execute("ROLLBACK")
        return [promote, claim, finish]

    fill(db, 100)
    few = costs()
    fill(db, 9_000)
    assert all(many <= 1.2 * one + 50 for one, many in zip(few, costs(), strict=True)), (few, costs())


def test_the_sum_of_the_finished_reads_an_index_alone(db: sqlite3.Connection) -> None:
    assert plan(db, statements.FINISHED_BYTES) == ["SEARCH jobs USING COVERING INDEX jobs_finished (finished_at>?)"]


@pytest.mark.parametrize("filled", [False, True])
def test_the_depth_is_counted_in_the_index_of_the_keys(db: sqlite3.Connection, filled: bool) -> None:
    if filled:
        fill(db, 1_000)
        db.execute("ANALYZE")
    lines = [line for line in plan(db, statements.DEPTH) if " jobs " in line]
    assert lines == [
        "SEARCH jobs USING INDEX jobs_ready_key (lane=?)",
        "SEARCH jobs USING INDEX jobs_delayed (not_before>?)",
    ]
    reads = [row for row in db.execute("EXPLAIN " + statements.DEPTH, {"lane": "local"}) if row[1] == "OpenRead"]
    ((table,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name='jobs'")
    first = next(row[2] for row in reads if row[3] == table)
    columns = [
        row
        for row in db.execute("EXPLAIN " + statements.DEPTH, {"lane": "local"})
        if row[1] == "Column" and row[2] == first
    ]
    assert columns == [], "no row is read for a ready job"


def test_what_may_be_asked_for_again_is_found_without_a_look_at_the_rest(db: sqlite3.Connection) -> None:
    fill(db, 100)
    few = work(db, statements.REPEATABLE, {})
    fill(db, 900)
    assert work(db, statements.REPEATABLE, {}) == few
    db.execute("UPDATE jobs SET req_hash=x'00' WHERE seq IN (150, 250)")
    assert [row[1] for row in db.execute(statements.REPEATABLE)] == [150, 250]


PLAIN = """
SELECT seq FROM jobs WHERE state='queued' AND not_before<=:now AND lane='local'
AND (override='gate' OR load_key IN (SELECT value FROM json_each(:load_keys))
  OR load_key IN (SELECT value FROM json_each(:admitted)))
ORDER BY CASE WHEN load_key IN (SELECT value FROM json_each(:load_keys)) THEN 0
              WHEN model IN (SELECT value FROM json_each(:models)) THEN 1 ELSE 2 END, seq LIMIT 1"""


def test_the_claim_is_the_plain_order_in_thousands_of_random_queues(db: sqlite3.Connection) -> None:
    chance = random.Random(20_240_229)
    keys = [f"{model}{tail}" for model in "abc" for tail in ("", "?num_ctx=1", "?num_ctx=2")]
    db.execute("BEGIN")
    for _ in range(3_000):
        db.execute("DELETE FROM jobs")
        for number in range(chance.randrange(10)):
            key = chance.choice(keys)
            state = chance.choice(("queued", "queued", "queued", "done"))
            db.execute(
                "INSERT INTO jobs (id, state, lane, model, load_key, path, mode, client, max_attempts, not_before,"
                " created_at, finished_at, override, bytes)"
                " VALUES (?, ?, ?, ?, ?, '/', 'detached', '', 3, ?, 1, ?, ?, 0)",
                (
                    f"{number:026d}", state, chance.choice(("local", "local", "remote")), key[0], key,
                    chance.choice((0, 0, 3, 7)) if state == "queued" else 0, 1 if state == "done" else None,
                    chance.choice((None, None, "gate")),
                ),
            )  # fmt: skip
        db.execute("INSERT INTO payloads SELECT seq, '[]', 0, x'' FROM jobs")
        hot = Hot(tuple(chance.sample(keys, chance.randrange(3))), tuple(chance.sample("abc", chance.randrange(3))))
        now = chance.randrange(10)
        admitted = chance.choice((None, (), tuple(chance.sample(keys, 3))))
        hot = replace(hot, admitted=admitted)
        values = {
            "now": now, "load_keys": json.dumps(hot.load_keys), "models": json.dumps(hot.models),
            "admitted": json.dumps(keys if admitted is None else admitted),
        }  # fmt: skip
        expected = db.execute(PLAIN, values).fetchone()
        claim = steps.claim(db, "me", Next(hot), now)
        assert (claim and claim.job.seq) == (expected and expected[0]), hot
