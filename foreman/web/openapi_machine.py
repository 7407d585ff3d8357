"""The shapes of what is told of the machine, as JSON Schema; `machine.py` makes them, and a test replays them."""

from typing import Final

from foreman.core.gate import Cause
from foreman.core.lanes import Lane, Wait
from foreman.core.reload import Reason
from foreman.core.submission import GATE
from foreman.web.openapi_shapes import COUNT, ID, NUMBER, SWITCH, TEXT, TIME, Schema, array, or_null, record, ref, words
from foreman.web.reasons import WORDS

_SIZE: Final[Schema] = {**COUNT, "description": "bytes"}
OVERRIDE: Final[Schema] = {"const": GATE, "description": "it is neither held nor refused"}

_HOLD: Final[Schema] = {
    "cause": words(Cause, "what stands against it"),
    "text": TEXT,
    "needed": or_null({**NUMBER, "description": "bytes, or load for each core"}),
    "there": or_null({**NUMBER, "description": "the same"}),
    "since": or_null(TIME),
    "next_look": or_null(TIME),
}
_READINGS: Final = record(
    {
        "at": or_null(TIME),
        "cores": or_null(COUNT),
        "load": or_null({**NUMBER, "description": "the 1-minute load average"}),
        "own_load": {**NUMBER, "description": "the part of it that is foreman's and the target's own"},
        "load_per_core": or_null({**NUMBER, "description": "what is left of it, for each core"}),
        "memory_available": or_null(_SIZE),
        "memory_total": or_null(_SIZE),
        "unified_memory": SWITCH,
        "disk_free": or_null(_SIZE),
        "disk_total": or_null(_SIZE),
        "foreign": or_null(array(TEXT, description="heavy programs of others that run")),
    },
    description="null for what cannot be read",
)
_NEXT: Final = record(
    {
        "job": ID,
        "load_key": TEXT,
        "verdict": words(("admit", "hold", "refuse")),
        "text": {**TEXT, "description": "the forecast in one sentence"},
        "needed": or_null(_SIZE),
        "there": or_null(_SIZE),
        "basis": or_null(TEXT),
    }
)
_FORECAST: Final = record(
    {
        "at": or_null(TIME),
        "load_key": TEXT,
        "basis": or_null(words(("last", "estimate"), "the load before, or worked out")),
        "expected": or_null(_SIZE),
        "size": _SIZE,
        "size_vram": _SIZE,
        "context_length": or_null(COUNT),
    }
)
_LOAD_OPTION: Final = or_null({"type": ["integer", "boolean"]})
_RELOAD: Final = record(
    {
        "at": or_null(TIME),
        "model": TEXT,
        "load_key": TEXT,
        "reason": words(Reason, "why it was needed"),
        "evicted": array(TEXT, description="the models that had to go first"),
        "options": {
            "type": "object",
            "description": "the load options that differ from what was in memory",
            "additionalProperties": record({"was": _LOAD_OPTION, "wanted": _LOAD_OPTION}),
        },
        "client": {**TEXT, "description": "who caused it"},
        "job": ID,
        "seconds": NUMBER,
        "loaded": {**SWITCH, "description": "false where it failed or was given up"},
    }
)
_RELOADS: Final = record(
    {
        "since": or_null(TIME),
        "paid": record({"count": COUNT, "minutes": NUMBER, "failed": COUNT}),
        "avoided": or_null(
            record(
                {"count": {"type": "integer"}, "minutes": or_null(NUMBER)},
                description="what the order of arrival would have cost beyond that; below zero where it was cheaper",
            )
        ),
        "reloads": array(_RELOAD, description="the newest first"),
    }
)


def lanes(running: Schema, **more: Schema) -> Schema:
    """Both lanes, with what is told of a running job."""
    lane = record(
        {
            "slots": {"type": "integer", "minimum": 1},
            "running": array(running, description="the one that was begun first in front"),
            "queued": COUNT,
            "waits_for": or_null(words((*Wait, *WORDS), "why the next one does not run")),
            **more,
        }
    )
    return record({name.value: lane for name in Lane})


MACHINE_SCHEMAS: Final[dict[str, Schema]] = {
    "Hold": record(_HOLD, description="why the gate does not let a job start"),
    "Machine": record(
        {
            "gate": record({"setting": words(("auto", "on", "off")), "on": SWITCH}),
            "readings": _READINGS,
            "thresholds": record(
                {
                    "max_load_per_core": NUMBER,
                    "disk_reserve": _SIZE,
                    "memory_reserve": _SIZE,
                    "foreign_processes": array(TEXT),
                }
            ),
            "resident": array({"type": "object"}, description="the models that the target shows as loaded"),
            "unknown": array(TEXT, description="what cannot be looked at, in words"),
            "held": array(record({"load_key": TEXT, **_HOLD})),
            "lanes": lanes(ref("Job"), next=or_null(_NEXT)),
            "next": or_null(_NEXT),
        }
    ),
    "Reloads": _RELOADS,
    "Forecasts": record({"forecasts": array(_FORECAST)}),
}
