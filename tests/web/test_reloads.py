"""The ledger of reloads over HTTP."""

import jsonschema_rs

from foreman.web.openapi_schemas import SCHEMAS
from tests.web.conftest import Front, Fronts
from tests.web.test_machine import QWEN, get, handed, shown

LEDGER = {"components": {"schemas": SCHEMAS}, "$ref": "#/components/schemas/Reloads"}


async def ledger(front: Front) -> dict[str, object]:
    told: dict[str, object] = await get(front, "/machine/reloads")
    jsonschema_rs.Draft202012Validator(LEDGER).validate(told)
    return told


async def test_before_the_first_load_there_is_nothing(front: Front) -> None:
    told = await ledger(front)
    assert told["paid"] == {"count": 0, "minutes": 0.0, "failed": 0}
    assert told["avoided"] == {"count": 0, "minutes": None}
    assert told["reloads"] == []


async def test_the_newest_load_comes_first_with_what_caused_it(front: Front) -> None:
    first = await handed(front)
    await shown(front, first, "done")
    second = await handed(front, {**QWEN, "options": {"num_ctx": 8192}})
    await shown(front, second, "done")
    told = await ledger(front)
    assert told["paid"] == {"count": 2, "minutes": 0.0, "failed": 0}
    reloads = told["reloads"]
    assert isinstance(reloads, list)
    assert [(reload["job"], reload["reason"], reload["load_key"]) for reload in reloads] == [
        (second, "other_options", "qwen3:8b?num_ctx=8192"),
        (first, "first", "qwen3:8b"),
    ]
    assert reloads[0]["options"] == {"num_ctx": {"was": None, "wanted": 8192}}
    assert reloads[0]["client"].endswith(" 127.0.0.1")
    assert reloads[0]["at"] > reloads[1]["at"]


async def test_where_the_target_evicts_nothing_is_said_of_what_was_avoided(fronts: Fronts) -> None:
    async with fronts(swap="target") as front:
        await shown(front, await handed(front), "done")
        told = await ledger(front)
    assert told["avoided"] is None
    assert isinstance(told["reloads"], list)
    assert len(told["reloads"]) == 1
