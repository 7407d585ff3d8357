"""Programs started beside a command, as real processes."""

import os
from pathlib import Path

import pytest

from foreman.cli.children import STUB_READY, child, environment, serve_arguments
from foreman.core.errors import StartupError


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_is_ready_inside_and_gone_after_the_block() -> None:
    async with child("the stub", "foreman.testing", "--listen=127.0.0.1:0", ready=STUB_READY) as stub:
        assert stub.url.startswith("http://127.0.0.1:")
        assert alive(stub.pid)
        stub.check()
    assert not alive(stub.pid)


async def test_a_child_that_cannot_start_is_quoted() -> None:
    with pytest.raises(StartupError, match=r"^the stub ended by itself with status 2: .*--no-such-flag"):
        async with child("the stub", "foreman.testing", "--no-such-flag", ready=STUB_READY):
            pass


async def test_a_killed_child_is_told_from_a_living_one() -> None:
    async with child("the stub", "foreman.testing", "--listen=127.0.0.1:0", ready=STUB_READY) as stub:
        await stub.kill()
        with pytest.raises(StartupError, match="status -9"):
            stub.check()


def test_the_users_settings_reach_no_child(tmp_path: Path) -> None:
    assert environment({"FOREMAN_TARGET": "x", "PATH": "/bin"}) == {"PATH": "/bin"}
    arguments = serve_arguments("http://127.0.0.1:1", tmp_path, "127.0.0.1:0")
    assert f"--config={tmp_path / 'empty.toml'}" in arguments
    assert (tmp_path / "empty.toml").read_text() == ""
