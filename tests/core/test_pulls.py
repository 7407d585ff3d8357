"""What a request for a pull asks, and what a pull is called."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreman.core import pulls
from foreman.core.errors import InvalidModelName
from foreman.core.job import LoadKey
from foreman.core.pulls import PullRequest


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"model":"phi4"}', PullRequest("phi4")),
        (b'{"name":"phi4"}', PullRequest("phi4")),
        (b'{"model":"","name":"phi4"}', PullRequest("phi4")),
        (b'{"model":"a","name":"b"}', PullRequest("a")),
        (b'{"MODEL":"a","Stream":false}', PullRequest("a", stream=False)),
        (b'{"model":"a","model":"b","stream":false,"stream":true}', PullRequest("b")),
        (b'{"model":"a","model":null,"insecure":true,"stream":null}', PullRequest("a", insecure=True)),
        (b' {"model":"a","username":"u","password":"p","x":[1]} rest', PullRequest("a")),
        (b'{"model":"\\u0061"}', PullRequest("a")),
    ],
)
def test_a_request_is_read_as_ollama_reads_it(body: bytes, asked: PullRequest) -> None:
    assert pulls.read(body) == asked


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no", b"[]", b'"x"', b"{}", b'{"model":""}', b'{"model":" "}', b'{"model":"a"', b'{"name":null}'),
        *(b'{"model":1}', b'{"model":["a"]}', b'{"model":"a","stream":"no"}', b'{"model":"a","insecure":1}'),
    ],
)
def test_what_the_target_would_refuse_is_none(body: bytes) -> None:
    assert pulls.read(body) is None


@given(
    st.dictionaries(
        st.sampled_from(["model", "name", "stream", "insecure", "x"]), st.none() | st.text() | st.booleans()
    )
)
def test_what_was_read_is_asked_again_in_the_same_words(fields: dict[str, Any]) -> None:
    asked = pulls.read(orjson.dumps(fields))
    if asked is not None:
        again = pulls.read(asked.body)
        assert again == PullRequest(asked.model, asked.insecure, stream=True)


def test_the_target_is_always_asked_for_the_progress_and_gets_no_password() -> None:
    asked = pulls.read(b'{"model":"X","stream":false,"username":"u","password":"p"}')
    assert asked is not None
    assert orjson.loads(asked.body) == {"model": "X", "stream": True}
    assert orjson.loads(PullRequest("X", insecure=True).body) == {"model": "X", "stream": True, "insecure": True}


def test_all_names_of_a_model_are_one_pull() -> None:
    for name in ("phi4", "library/PHI4", "registry.ollama.ai/library/phi4:latest", " phi4:Latest "):
        assert PullRequest(name).key == LoadKey("pull phi4:latest")
    assert PullRequest("phi4", insecure=True).key != PullRequest("phi4").key
    assert PullRequest("hf.co/a/b:Q4").key == LoadKey("pull hf.co/a/b:q4")


@pytest.mark.parametrize("insecure", [False, True])
def test_a_key_reads_back(insecure: bool) -> None:
    key = PullRequest("phi4", insecure).key
    assert LoadKey.parse(str(key)) == key


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../b", "x y", "http://", "a:b:c/..", "-x"])
def test_what_is_no_name_has_no_key(name: str) -> None:
    with pytest.raises(InvalidModelName):
        _ = PullRequest(name).key
