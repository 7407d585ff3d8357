"""What a served process has loaded, and how Python's collector is set in it."""

import json
import subprocess
import sys
from pathlib import Path

from foreman.engine.collector import FULL_AFTER, MIDDLE_AFTER

# Serving needs none of them, and each takes its time at every start.
NOT_NEEDED = {
    "foreman.cli.ask", "foreman.cli.demo", "foreman.cli.watch", "foreman.testing", "ollama", "openai", "pytest",
    "multiprocessing", "xml", "unittest", "sqlite3.dump", "pydantic", "httpx",
}  # fmt: skip

# Serves until it is ready. What it tells of itself then is the last line.
SERVED = """
import gc, json, os, signal, sys
def told():
    return {"enabled": gc.isenabled(), "thresholds": gc.get_threshold(), "frozen": gc.get_freeze_count()}
import foreman.cli.serve
from foreman.cli.main import main
imported = told()
def ready(url):
    print(json.dumps({"imported": imported, "served": told(), "modules": sorted(sys.modules)}))
    os.kill(os.getpid(), signal.SIGTERM)
foreman.cli.serve.ready = ready
sys.exit(main(sys.argv[1:]))
"""


def test_a_start_loads_no_more_than_it_needs_and_sets_the_collector(tmp_path: Path) -> None:
    config = tmp_path / "empty.toml"
    config.touch()
    where = (f"--config={config}", f"--db={tmp_path / 'f.db'}", "--listen=127.0.0.1:0", "--target=http://127.0.0.1:9")
    command = [sys.executable, "-c", SERVED, "serve", *where]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["modules"]) & NOT_NEEDED == set()
    assert {"foreman.app", "aiohttp.web"} <= set(told["modules"])
    young, _, _ = told["imported"]["thresholds"]
    assert (told["imported"]["enabled"], told["imported"]["frozen"]) == (True, 0)
    assert told["imported"]["thresholds"] != [young, MIDDLE_AFTER, FULL_AFTER]
    assert (told["served"]["enabled"], told["served"]["thresholds"]) == (True, [young, MIDDLE_AFTER, FULL_AFTER])
    assert told["served"]["frozen"] > 10_000
