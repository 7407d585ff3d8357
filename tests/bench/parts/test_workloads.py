import orjson
import pytest

from bench.parts.workloads import WORKLOADS, Workload, completion, generate
from bench.servers.answers import Ask
from foreman.core.ollama import EMBEDDING_PATHS, QUEUED_PATHS
from foreman.web.routes import METHODS

EACH = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)


def test_names_tell_workloads_apart() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)


@EACH
def test_a_request_is_one_that_foreman_takes_and_the_stub_knows(workload: Workload) -> None:
    request = workload.request
    if request.method == "GET":
        assert workload.cached
        assert "GET" in METHODS[request.path]
        return
    assert request.path in (*QUEUED_PATHS, *EMBEDDING_PATHS)
    ask = Ask.found_in(request.body)
    assert ask is not None
    assert orjson.loads(request.body)["model"].startswith("bench")
    assert workload.chunks in (0, ask.chunks)


def test_those_that_run_flat_out_are_held_up_by_nothing() -> None:
    assert [w.name for w in WORKLOADS if w.flat_out] == ["zero", "saturation", "tags", "models"]


def test_a_prompt_is_as_long_as_told() -> None:
    assert len(orjson.loads(generate(Ask(), 40_000).body)["prompt"]) == 40_000
    assert b"stream" not in completion(Ask()).body
