"""The shapes of what foreman's own routes take and give, as JSON Schema; `jobview.py`, `status.py` and `queue.py` make
them, and a test replays them."""

from typing import Final

from foreman.core.job import JobState, Mode
from foreman.core.lanes import Lane, Wait
from foreman.core.ollama import JOB_PATHS, V1_EMBEDDINGS
from foreman.core.order import Reason
from foreman.core.slots import LABEL_LENGTH, LONGEST_EXPIRY, MOST_MEMORY, SHORTEST_EXPIRY
from foreman.web.openapi_machine import MACHINE_SCHEMAS, OVERRIDE, lanes
from foreman.web.openapi_shapes import (
    COUNT,
    ID,
    NUMBER,
    SECONDS,
    SWITCH,
    TEXT,
    TIME,
    Schema,
    array,
    or_null,
    record,
    ref,
)
from foreman.web.openapi_shapes import words as _words
from foreman.web.reasons import WORDS

ARRAY_LIMIT: Final = 1000
TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"

# What can be handed over as JSON; of the last only what a remote makes.
HANDED_OVER: Final = (*(path for path in JOB_PATHS if path != TRANSCRIPTIONS), V1_EMBEDDINGS)

STATE: Final = _words(JobState)
REASON: Final = _words((*Reason, *Wait, *WORDS), "why it waits where it waits")
LANE: Final = _words(Lane, "local: what the target's machine carries; remote: what runs elsewhere")

_ERROR: Final = record({"code": TEXT, "message": or_null(TEXT)})

_CHANGE: Final[Schema] = {
    "id": ID,
    "state": STATE,
    "lane": LANE,
    "model": TEXT,
    "load_key": {**TEXT, "description": "the model and the options it must be loaded with"},
    "path": TEXT,
    "mode": _words(Mode),
    "client": TEXT,
    "attempts": COUNT,
    "created_at": or_null(TIME),
    "output_bytes": or_null({**COUNT, "description": "of the answer so far, while the job lives"}),
    "hold": or_null(ref("Hold")),
    "links": record({"self": TEXT, "response": TEXT}, {"cancel": TEXT, "retry": TEXT}),
}

_JOB: Final[Schema] = {
    **_CHANGE,
    "position": or_null({"type": "integer", "minimum": 1, "description": "1 runs next in its lane"}),
    "reason": or_null(REASON),
    "why": or_null({**TEXT, "description": "more of the reason, in words"}),
    "slowdown": or_null(ref("Slowdown")),
    "expected_start": or_null({**SECONDS, "description": "seconds from now, once three jobs of the model are known"}),
    "label": or_null({**TEXT, "description": "what a command that holds a slot is called"}),
    "memory": or_null({**COUNT, "description": "what the command will take, in bytes"}),
    "heartbeat": or_null(ref("Holder")),
    "max_attempts": COUNT,
    "not_before": or_null(TIME),
    "claimed_at": or_null(TIME),
    "first_byte_at": or_null(TIME),
    "finished_at": or_null(TIME),
    "status": or_null({"type": "integer", "description": "the HTTP status of the answer"}),
    "error": or_null(_ERROR),
    "stats": or_null(ref("Stats")),
    "retry_of": or_null(ID),
    "kept": SWITCH,
    "override": or_null(OVERRIDE),
}

_NEW_JOB: Final = record(
    {
        "path": _words(HANDED_OVER, f"{V1_EMBEDDINGS} only for the model of a remote"),
        "body": {
            "type": "object",
            "required": ["model"],
            "properties": {"model": {"type": "string", "minLength": 1}},
            "description": "the body of a request to that path",
        },
    },
    {
        "not_before": {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": 0, "maximum": 366 * 86_400},
                {"type": "null"},
            ],
            "description": "a time, or seconds from now",
        },
        "override": or_null(OVERRIDE),
    },
    closed=True,
)

_EXPIRY: Final[Schema] = {
    "type": "number",
    "description": "seconds after its last heartbeat when it is freed",
    "minimum": SHORTEST_EXPIRY,
    "maximum": LONGEST_EXPIRY,
}
_LABEL: Final[Schema] = {**TEXT, "minLength": 1, "maxLength": LABEL_LENGTH, "pattern": r"^[!-~]([ -~]*[!-~])?$"}
_SIZE: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MOST_MEMORY},
        {"type": "string", "pattern": "^[1-9][0-9]{0,3} ?([kMG]B|[KMG]iB)$"},
        {"type": "null"},
    ],
    "description": "what the command will take: bytes, or a size such as 40GB",
}

_RUNNING: Final = record({"id": ID, "model": TEXT, "load_key": TEXT, "state": STATE, "client": TEXT})


_REMOTE: Final = record(
    {
        "name": TEXT,
        "url": TEXT,
        "slots": {"type": "integer", "minimum": 1},
        "limit": {"type": "integer", "minimum": 1, "description": "how many it gets at once for now"},
        "running": COUNT,
        "models": array(TEXT, description="those that go there by their own names, or beginnings that end in *"),
        "paused_seconds": {**SECONDS, "description": "for how long it is left alone"},
    }
)

_HEALTH: Final = record(
    {
        "status": _words(("ok", "degraded", "draining", "storage")),
        "version": TEXT,
        "uptime_seconds": SECONDS,
        "target": record(
            {
                "url": TEXT,
                "reachable": {**or_null(SWITCH), "description": "null until it was first asked"},
                "error": or_null(TEXT),
                "last_poll": or_null({**NUMBER, "description": "unix seconds"}),
                "last_success": or_null({**NUMBER, "description": "unix seconds"}),
                "models": COUNT,
                "resident": array(record({"model": TEXT})),
            }
        ),
        "queue": record(
            {
                "paused": SWITCH,
                "depth": COUNT,
                "by_model": {"type": "object", "additionalProperties": COUNT},
                "oldest_wait_seconds": or_null(SECONDS),
            }
        ),
        "running": or_null({**_RUNNING, "description": "what was begun first"}),
        "lanes": lanes(_RUNNING),
        "remotes": array(_REMOTE, description="the remote APIs of the settings"),
        "storage": record({"error": or_null(TEXT), "sqlite": TEXT, "db_bytes": COUNT, "wal_bytes": COUNT}),
        "relay_bytes": COUNT,
    }
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": record(
        {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT, "code": TEXT},
        description="RFC 9457; `code` is foreman's own word for what went wrong",
    ),
    "Stats": record(
        {
            "waited_seconds": SECONDS,
            "load_seconds": SECONDS,
            "first_byte_seconds": or_null(SECONDS),
            "total_seconds": SECONDS,
            "prompt_tokens": or_null(COUNT),
            "output_tokens": or_null(COUNT),
        }
    ),
    "Job": record(_JOB),
    "JobPage": record(
        {
            **_JOB,
            "history": array(
                record(
                    {
                        "n": {"type": "integer", "minimum": 1},
                        "started_at": or_null(TIME),
                        "ended_at": or_null(TIME),
                        "outcome": or_null(TEXT),
                        "error": or_null(_ERROR),
                    }
                ),
                description="every attempt, the first one first",
            ),
        }
    ),
    "JobChange": record(_CHANGE, description="the data of a `job` event"),
    "NewJob": _NEW_JOB,
    "Slowdown": record(
        {
            "remote": TEXT,
            "cause": {**TEXT, "description": "what it answered last: status_429, status_503, remote_unreachable"},
            "text": TEXT,
            "since": or_null(TIME),
            "until": or_null({**TIME, "description": "null: it is asked again, by fewer at once"}),
            "retry_after": or_null({**SECONDS, "description": "what it asked for itself"}),
            "limit": {**COUNT, "description": "how many requests it gets at once now"},
            "slots": COUNT,
        },
        description="why a remote API gets fewer requests than it has slots for",
    ),
    "Holder": record(
        {
            "heard_at": or_null({**TIME, "description": "null: not since foreman was started"}),
            "expires_at": or_null({**TIME, "description": "when it is lost, if nothing is heard until then"}),
            "expiry_seconds": _EXPIRY,
        },
        description="what was heard of who holds a slot",
    ),
    "Override": record({"override": OVERRIDE}, closed=True),
    "NewSlot": record(
        {"lane": LANE},
        {"label": or_null(_LABEL), "memory": _SIZE, "expiry_seconds": or_null(_EXPIRY), "override": or_null(OVERRIDE)},
        closed=True,
    ),
    "Slot": record(
        {
            "id": ID,
            "lane": LANE,
            "label": TEXT,
            "memory": or_null(COUNT),
            "heartbeat_seconds": {**SECONDS, "description": "how often to send a heartbeat"},
            "expiry_seconds": _EXPIRY,
        }
    ),
    "SlotEnd": record({}, {"exit_status": or_null({"type": "integer", "minimum": 0, "maximum": 255})}, closed=True),
    "Heartbeat": record(
        {
            "id": ID,
            "expiry_seconds": _EXPIRY,
            "cancel_requested": {**SWITCH, "description": "somebody wants the command to end"},
        }
    ),
    "Jobs": record({"jobs": array(ref("Job"))}),
    "JobList": record({"jobs": array(ref("Job")), "next": or_null({**TEXT, "description": "`after` of the next"})}),
    "Queue": record(
        {
            "paused": SWITCH,
            "depth": COUNT,
            "running": or_null(ref("Job")),
            "lanes": lanes(ref("Job")),
            "waiting": array(ref("Job"), description="each lane in the order in which they will run"),
            "delayed": array(ref("Job"), description="those that wait for their time"),
        }
    ),
    "Health": _HEALTH,
    **MACHINE_SCHEMAS,
}
