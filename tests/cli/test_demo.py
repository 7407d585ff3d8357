"""The demo: one whole showing at a quick pace, told by what it prints, and its pieces."""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import pytest

from foreman.cli import demo
from foreman.cli.children import Child, child
from foreman.cli.demo_clients import KINDS, Chat, ask, import_clients
from foreman.core.errors import StartupError

JOB = re.compile(r"^ *[\d.]+s  chat +(\d+)  (\w+) +(\S+) +(\w{6})  (.*)$", re.MULTILINE)
TABLE = re.compile(r"^  (\D.*?) {2,}([\d.]+)$", re.MULTILINE)


def test_the_whole_demo_ends_well_and_its_summary_is_true(capfd: pytest.CaptureFixture[str]) -> None:
    status = demo.run(pace=0.05)
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    told = [(int(number), kind, model, job, doing) for number, kind, model, job, doing in JOB.findall(out)]
    jobs = {number: job for number, _, _, job, _ in told}
    arrivals = [model for _, model in sorted({number: model for number, _, model, _, _ in told}.items())]
    done = {number: model for number, _, model, _, doing in told if doing.startswith("done, 40 tokens")}
    drained = [model for model, _ in groupby(done.values())]
    cut = [number for number, *_, doing in told if doing.endswith("cut off")]
    table = {label: float(value) for label, value in TABLE.findall(out)}

    assert {kind for _, kind, *_ in told} == {"ollama", "openai"}
    assert {number: job for number, _, _, job, _ in told[::-1]} == jobs  # no job changed its id across the restart
    assert drained == list(demo.MODELS)
    assert "KILL -9" in out
    assert 0 < out.index("KILL -9") < out.index("RESTART")
    assert table == {
        "jobs accepted": len(set(jobs.values())),
        "jobs done": len(done),
        "jobs lost": len(jobs.keys() - done.keys()),
        "answers kept whole, byte for byte": len(done),
        "kills survived": out.count("RESTART"),
        "clients cut off by the kill": len(cut),
        "most jobs at the target at once": 1,
        "model loads paid": len(drained),
        "model loads plain FIFO would have paid": len(list(groupby(arrivals))),
        "seconds saved, at 0.1 s a load": pytest.approx((len(list(groupby(arrivals))) - len(drained)) * 0.1),
    }
    assert len(jobs) == demo.CHATS
    assert table["jobs lost"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_and_no_file(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pids: list[int] = []

    @asynccontextmanager
    async def interrupting(*arguments: str, ready: str) -> AsyncIterator[Child]:
        async with child(*arguments, ready=ready) as started:
            pids.append(started.pid)
            if len(pids) == 2:
                asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            yield started

    monkeypatch.setattr(demo, "child", interrupting)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert demo.run(pace=0.05) == 130
    assert "nothing is left running" in capfd.readouterr().out
    assert len(pids) == 2
    assert list(tmp_path.iterdir()) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_dozen_chats_pair_every_client_with_every_model_equally_often() -> None:
    pairs = [(chat.kind, chat.model) for chat in demo.chats()]
    assert len(pairs) == 12
    assert [model for _, model in pairs] == list(demo.MODELS) * 6
    assert {pair: pairs.count(pair) for pair in pairs} == {(k, m): 3 for k in KINDS for m in demo.MODELS}


def test_a_missing_client_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreman.cli.demo_clients.KINDS", ("ollama", "a_client_that_is_not_installed"))
    with pytest.raises(StartupError, match=r"pip install 'foreman\[demo\]'.*a_client_that_is_not_installed"):
        import_clients()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_client_makes_of_a_dead_server_stands_in_its_chat(kind: str) -> None:
    chat, pieces = Chat(1, kind, "m"), []
    await ask(chat, "http://127.0.0.1:9", lambda: pieces.append(chat.tokens))
    assert chat.ended
    assert "Error" in chat.error
    assert pieces == [0]
