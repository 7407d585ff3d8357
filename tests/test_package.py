"""The wheel: built from here, installed into an empty environment, and served from there."""

import asyncio
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import aiohttp
import pytest

from foreman import __version__
from foreman.testing import StubOllama

ROOT = Path(__file__).parents[1]
QUIET = ("--quiet", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        *QUIET,
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ROOT,
    )
    run(*build, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    files = (path for path in (ROOT / "foreman").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = {name.split("/", 1)[1] for name in archive.namelist() if ".dist-info/" in name}
    assert wheel.name == f"foreman-{__version__}-py3-none-any.whl"
    assert {"foreman/py.typed", "foreman/engine/migrations/0001_jobs.sql"} <= held
    assert held == {path.relative_to(ROOT).as_posix() for path in files}
    assert {"entry_points.txt", "licenses/LICENSE"} <= info


@pytest.mark.timeout(600)
async def test_the_wheel_serves_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / "bin"
    install = (bin_ / "python", "-m", "pip", "install", *QUIET)
    run(*install, "--require-hashes", "--requirement", ROOT / "requirements.lock", cwd=tmp_path)
    run(*install, "--no-deps", wheel, cwd=tmp_path)
    run(bin_ / "python", "-m", "pip", "check", cwd=tmp_path)
    assert run(bin_ / "foreman", "--version", cwd=tmp_path).split()[-1] == __version__
    async with StubOllama() as stub:
        command = (bin_ / "foreman", "serve", "--listen=127.0.0.1:0", f"--target={stub.url}", "--gate=off")
        environ = {"HOME": str(tmp_path), "PATH": os.defpath}
        served = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environ, stderr=asyncio.subprocess.PIPE
        )
        assert served.stderr is not None
        try:
            url = ""
            while not url:
                line = (await served.stderr.readline()).decode()
                assert line, "it ended before it served"
                url = line.partition("foreman listening on ")[2].strip()
            async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
                assert (await response.json())["version"] == __version__
        finally:
            served.terminate()
            await served.communicate()
    assert served.returncode == 0
