"""`foreman backup` beside a running foreman, `foreman restore` after it: the jobs go on where the copy was made."""

import asyncio
import sys
from pathlib import Path

import orjson
import pytest

from foreman.testing import Script, StubOllama
from tests.e2e.process import Foreman, environment, serving
from tests.e2e.raw import ask, connected

BODY = orjson.dumps({"model": "llama3", "prompt": "hello", "stream": False})


async def foreman_says(home: Path, *command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "foreman",
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home),
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def later(foreman: Foreman) -> str:
    answer = await ask(foreman.url, "POST /api/generate", "Prefer: respond-async", body=BODY)
    assert answer.status == 202
    return str(orjson.loads(answer.body)["id"])


async def test_what_waited_when_the_copy_was_made_goes_on_after_it_was_put_back(tmp_path: Path) -> None:
    db, copy = tmp_path / "foreman.db", tmp_path / "copy.db"
    async with StubOllama() as stub:
        stub.script("llama3", Script(hold=0))
        async with serving(stub.url, db) as foreman:
            first, second = await later(foreman), await later(foreman)
            await stub.ledger.held()
            status, said, _ = await foreman_says(tmp_path, "backup", str(copy), f"--db={db}")
            assert (status, said.split(" with ")[1]) == (0, f"2 jobs, 2 of them unfinished, copied to {copy}\n")
            assert (await foreman_says(tmp_path, "restore", str(copy), f"--db={db}"))[0] == 1
            stub.script("llama3", None)
            stub.release("llama3")
            await foreman.settled(first, second)
            third = await later(foreman)
            await foreman.settled(third)
        status, said, _ = await foreman_says(tmp_path, "restore", str(copy), f"--db={db}")
        assert status == 0
        assert "what is unfinished goes on when foreman starts" in said
        async with serving(stub.url, db) as foreman:
            await foreman.settled(first, second)
            assert (await ask(foreman.url, f"GET /jobs/{first}/response")).status == 200
            assert (await ask(foreman.url, f"GET /jobs/{third}")).status == 404


async def test_a_copy_under_load_is_whole(tmp_path: Path) -> None:
    db = tmp_path / "foreman.db"
    async with StubOllama() as stub, serving(stub.url, db) as foreman, connected(foreman.url) as client:
        made = asyncio.Event()

        async def load() -> int:
            count = 0
            while not made.is_set():
                await client.request("POST /api/generate", body=BODY)
                assert (await client.answer()).status == 200
                count += 1
            return count

        loading = asyncio.create_task(load())
        for number in range(3):
            status, said, _ = await foreman_says(tmp_path, "backup", str(tmp_path / f"copy{number}"), f"--db={db}")
            assert (status, said.count("copied to")) == (0, 1)
        made.set()
        assert await loading > 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("backup", "{copy}"), "there is no database at"),
        (("restore", "{copy}"), "there is no file"),
        (("backup",), "the following arguments are required: FILE"),
    ],
)
async def test_what_cannot_be_done_is_told_in_a_line(command: tuple[str, ...], said: str, tmp_path: Path) -> None:
    words = [word.format(copy=tmp_path / "copy") for word in command]
    status, out, err = await foreman_says(tmp_path, *words, f"--db={tmp_path / 'foreman.db'}")
    assert (status in (1, 2), out, len(err.splitlines())) == (True, "", 1)
    assert said in err
