"""The bench: the arithmetic, and a few requests through all of it. Never a time: those belong to the machine."""

import os
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from bench.__main__ import main
from bench.client import AnswerVoid, Connection, Request
from bench.figures import DIRECT, FOREMAN, PASS_THROUGH, Spread, Turn, figures, percentile, ratio, table
from bench.load import Plan, Result, is_loopback, load, refusal, report
from bench.rounds import WORKLOADS, rotated
from foreman.testing import Die, Script, StubOllama

SUBJECTS = [DIRECT, PASS_THROUGH, FOREMAN]


def turns(**first_bytes: list[float]) -> list[Turn]:
    """Turns of one workload, first bytes by subject and round."""
    names = {"direct": DIRECT, "passing": PASS_THROUGH, "foreman": FOREMAN}
    rows = [(names[name], number, value) for name, values in first_bytes.items() for number, value in enumerate(values)]
    return [Turn("chat", subject, number, value, 1 / value) for subject, number, value in rows]


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.9, 0.99, 1.0)] == [1.0, 50.0, 90.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_added_time_and_its_ratio_are_formed_inside_each_round() -> None:
    rows = figures(turns(foreman=[9.0, 33.0, 6.0], direct=[1.0, 1.0, 2.0], passing=[5.0, 5.0, 4.0]))
    assert [row.subject for row in rows] == SUBJECTS
    foreman = rows[2]
    assert foreman.added == Spread(8.0, 4.0, 32.0)
    assert foreman.added_ratio == Spread(2.0, 2.0, 8.0)
    assert rows[0].added_ratio is None
    assert rows[1].added_ratio == Spread(1.0, 1.0, 1.0)


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio([1.0, 1.0], [1.0, 0.0]) is None
    text = table(figures(turns(direct=[2.0], passing=[1.0], foreman=[3.0])))
    assert text.splitlines()[-1].split() == ["foreman", "3000.00", "ms", "+1000.00", "ms", "not", "resolved", "0"]
    assert "below direct" in table(figures(turns(direct=[2.0], passing=[3.0], foreman=[1.0])))


def test_each_subject_is_first_as_often() -> None:
    assert [rotated(SUBJECTS, turn)[0] for turn in range(4)] == [*SUBJECTS, DIRECT]
    assert sorted(rotated(SUBJECTS, 5)) == sorted(SUBJECTS)


def test_a_few_requests_make_a_whole_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    file = tmp_path / "found.json"
    assert main(["--rounds", "2", "--requests", "3", "--json", str(file)]) == 0
    out = capfd.readouterr().out
    found = orjson.loads(file.read_bytes())
    names = [workload.name for workload in WORKLOADS]
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == ["subject", *SUBJECTS * 3]
    assert [line for line in out.splitlines() if line in names] == names
    assert max(map(len, lines)) < 80
    assert [(row["workload"], row["subject"]) for row in found["figures"]] == [(w, s) for w in names for s in SUBJECTS]
    assert [turn["subject"] for turn in found["turns"]] == SUBJECTS * 3 + rotated(SUBJECTS, 1) * 3
    assert all(turn["first_byte"] > 0 and turn["rate"] > 0 for turn in found["turns"])
    assert {"commit", "python", "packages", "processor", "fsync_us"} <= found["machine"].keys()
    if affinity is not None:
        assert os.sched_getaffinity(0) == affinity


async def test_the_client_reads_both_kinds_of_body_on_one_connection() -> None:
    body = b'{"model":"llama3","messages":[{"role":"user","content":"x"}],"stream":%s}'
    async with StubOllama() as stub, await Connection.open(stub.url) as connection:
        for stream in (b"true", b"false"):
            timing = await connection.time(Request("POST", "/api/chat", body % stream))
            assert 0 < timing.first_byte <= timing.total
        assert [entry.written for entry in stub.ledger.on("/api/chat")][-1] == timing.size


@pytest.mark.parametrize("script", [Script(status=503), Script(die=Die.FIN, die_after_chunks=1)])
async def test_an_answer_that_is_no_good_voids_the_figures(script: Script) -> None:
    request = Request("POST", "/api/chat", b'{"model":"llama3","messages":[{"role":"user","content":"x"}]}')
    async with StubOllama() as stub, await Connection.open(stub.url) as connection:
        stub.script("*", script)
        with pytest.raises(AnswerVoid):
            await connection.time(request)


def plan(url: str = "http://127.0.0.1:1", **changes: Any) -> Plan:
    values: dict[str, Any] = {"model": "llama3", "clients": 2, "requests": 5, "stream": True, "seconds": 30.0}
    return Plan(url=url, **values | changes)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://box.lan:1", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://192.168.0.2", False),
        ("http://0.0.0.0", False),
    ],
)
def test_only_this_machine_is_loaded_without_being_asked(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
    assert (refusal(plan(url), yes=False) is None) is loopback
    assert refusal(plan(url), yes=True) is None


@pytest.mark.parametrize(
    "changes", [{"clients": 1_001}, {"requests": 100_001}, {"seconds": 0.0}, {"seconds": float("nan")}]
)
def test_load_is_bounded(changes: dict[str, Any]) -> None:
    assert refusal(plan(**changes), yes=True)
    assert refusal(plan("ftp://127.0.0.1"), yes=True)


@pytest.mark.parametrize("stream", [True, False])
async def test_load_asks_as_often_as_told_and_counts_what_came_back(stream: bool) -> None:
    async with StubOllama() as stub:
        result = await load(plan(stub.url, stream=stream))
        assert len(stub.ledger.on("/api/chat")) == 5
    assert (len(result.total), result.failures.total(), result.timed_out) == (5, 0, False)
    assert all(first <= total for first, total in zip(result.first_byte, result.total, strict=True))
    assert "5 of 5 chats answered" in report(plan(), result)


async def test_load_counts_failures_by_kind() -> None:
    async with StubOllama() as stub:
        bad = [Script(status=503), Script(die=Die.CLEAN, die_after_chunks=1), Script(die=Die.RST)]
        stub.script("*", bad)
        result = await load(plan(stub.url, clients=1))
    assert len(result.total) == 2
    assert result.failures.keys() - {aiohttp.ClientOSError.__name__} == {"status 503", "no end in sight"}
    assert result.failures.total() == 3


async def test_load_ends_when_its_time_is_up() -> None:
    async with StubOllama() as stub:
        stub.script("*", Script(hold=0))
        result = await load(plan(stub.url, seconds=0.2))
    assert result.timed_out
    assert "5 chats were not asked or given up" in report(plan(seconds=0.2), result)


def test_a_refusal_is_one_line_and_status_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--url", "http://box.lan:11435", "--model", "m"]) == 2
    assert capfd.readouterr().err == "bench: box.lan is not this machine; add --yes if it is yours to put under load\n"


def test_no_answer_at_all_is_reported_without_percentiles() -> None:
    assert report(plan(), Result(seconds=1.0)).splitlines()[0] == "0 of 5 chats answered in 1.0 s, 0.0 a second"
