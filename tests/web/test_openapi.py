"""The document at /openapi.json names every route of foreman's own, and nothing else; its schemas are schemas."""

import jsonschema_rs
import pytest

from foreman.core.ollama import QUEUED_PATHS
from foreman.web.openapi import document
from foreman.web.openapi_schemas import SCHEMAS
from foreman.web.routes import OWN

METHODS = {"get", "head", "put", "post", "delete"}


def test_every_route_is_there_and_no_other() -> None:
    told = {(method.upper(), path) for path, item in document()["paths"].items() for method in METHODS & set(item)}
    assert told == {(method, path) for method, path, *_ in OWN}


def test_every_operation_has_a_name_of_its_own_and_tells_of_keys_and_hosts() -> None:
    operations = [item[method] for item in document()["paths"].values() for method in METHODS & set(item)]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(OWN)
    assert all({"401", "403"} <= set(operation["responses"]) for operation in operations)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_all_it_refers_to_is_there(name: str) -> None:
    components = {"components": {"schemas": SCHEMAS}, "$ref": f"#/components/schemas/{name}"}
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[name]})
    assert not jsonschema_rs.Draft202012Validator(components).is_valid("no object")


def test_a_job_is_described_as_it_must_be_sent() -> None:
    new_job = jsonschema_rs.Draft202012Validator(SCHEMAS["NewJob"])
    for path in QUEUED_PATHS:
        told = new_job.is_valid({"path": path, "body": {"model": "m"}})
        assert told is (path != "/v1/audio/transcriptions")
    assert not new_job.is_valid({"path": "/api/chat", "body": {}})
    assert not new_job.is_valid({"path": "/api/chat", "body": {"model": "m"}, "when": 1})
