import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.cli import QUICK_NOTE, main
from foreman.testing import Script, StubOllama
from tests.bench.figures.samples import record


def test_one_part_prints_its_tables_and_writes_its_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results" / "found.json"
    flags = ("--quick", "--seconds", "0.01", "--only", "bodies", "--rounds", "2", "--json", str(file))
    assert main(["overhead", *flags]) == 0
    printed = capfd.readouterr()
    assert "bodies: prompts of 40 kB" in printed.out
    assert "THE BUDGET" in printed.out
    assert printed.out.endswith(f"{QUICK_NOTE}\n")
    assert printed.err == ""
    assert main(["report", str(file)]) == 0
    assert "## The budget" in capfd.readouterr().out


def test_a_report_is_the_tables_of_a_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    file.write_bytes(record().json())
    assert main(["report", str(file)]) == 0
    out = capfd.readouterr().out
    assert "| dispatch gap at the target, 8 clients | 250 us | 70 us | 110 (60.0 to 160) |" in out


@pytest.mark.parametrize("text", ["{}", "nothing"])
def test_what_is_no_record_is_one_line_and_status_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "x.json").write_text(text)
    assert main(["report", str(tmp_path / "x.json")]) == 1
    assert main(["report", str(tmp_path / "none.json")]) == 1
    err = capfd.readouterr().err.splitlines()
    assert len(err) == 2
    assert all(line.startswith("bench: ") for line in err)


async def test_a_load_is_reported_and_drawn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "load.svg"
    async with StubOllama() as stub:
        flags = ("--url", stub.url, "--model", "llama3", "--requests", "3", "--clients", "2", "--plot", str(picture))
        assert await asyncio.to_thread(main, ["load", *flags]) == 0
    assert capfd.readouterr().out.startswith("3 of 3 chats answered")
    ElementTree.parse(picture)


def test_a_refusal_is_one_line_and_status_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--url", "http://box.lan:11435", "--model", "m"]) == 2
    assert capfd.readouterr().err == "bench: box.lan is not this machine; add --yes if it is yours to put under load\n"


async def test_an_interrupted_load_shows_what_there_is() -> None:
    async with StubOllama() as stub:
        stub.script("*", [Script(), Script(hold=0)])
        flags = ("--url", stub.url, "--model", "llama3", "--clients", "1")
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench", "load", *flags, stdout=PIPE)
        await stub.ledger.held()
        process.send_signal(signal.SIGINT)
        said, _ = await process.communicate()
    assert process.returncode == 130
    assert said.startswith(b"1 of 20 chats answered")
    assert said.endswith(b"not asked or given up: 19\n")


def test_a_key_that_cannot_be_read_is_one_line_and_status_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--model", "m", "--api-key-file", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err.startswith("bench: api_key_file ")
