"""Which scope each route needs: one table, beside that of the routes.

A path that stands nowhere here is the target's own affair, and passed on only to who may manage models.
"""

import re
from typing import Final

from foreman.core.access import ANY, OPEN, Needs, Scope
from foreman.core.ollama import EMBEDDING_PATHS, JOB_PATHS, QUEUED_PATHS

INFER: Final[Needs] = frozenset({Scope.INFER})
READ: Final[Needs] = frozenset({Scope.READ})
MANAGE: Final[Needs] = frozenset({Scope.MANAGE})
ADMIN: Final[Needs] = frozenset({Scope.ADMIN})
# Every client asks what models there are before it asks one.
MODELS: Final[Needs] = INFER | READ

# By the path as the table of the routes has it: for every method, or by method.
NEEDS: Final[dict[str, Needs | dict[str, Needs]]] = {
    # Only that the process answers at all; a container's health check has no key.
    "/": OPEN,
    **dict.fromkeys(JOB_PATHS, MANAGE),
    **dict.fromkeys((*QUEUED_PATHS, *EMBEDDING_PATHS), INFER),
    **dict.fromkeys(("/api/tags", "/api/ps", "/api/version", "/api/show", "/v1/models", "/v1/models/{model}"), MODELS),
    **dict.fromkeys(("/jobs", "/jobs/{id}", "/jobs/{id}/retry", "/jobs/{id}/keep", "/jobs/{id}/response"), INFER),
    **dict.fromkeys(("/slots", "/slots/{id}", "/slots/{id}/heartbeat"), INFER),
    **dict.fromkeys(("/health", "/queue", "/events", "/machine", "/machine/forecasts"), READ),
    **dict.fromkeys(("/queue/pause", "/queue/resume", "/keys", "/keys/{id}"), ADMIN),
    "/openapi.json": ANY,
    # Whoever wants to show a key has none yet.
    "/ui/session": OPEN,
}
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), needs) for path, needs in NEEDS.items() if "{" in path
)


def needed(method: str, path: str) -> Needs:
    """What a request for a path needs, be the path that of a table or one that was asked for."""
    needs = NEEDS.get(path)
    if needs is None:
        needs = next((found for pattern, found in _PATTERNS if pattern.fullmatch(path)), MANAGE)
    return needs.get(method, ADMIN) if isinstance(needs, dict) else needs
