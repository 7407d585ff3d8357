"""What the stub shows of itself: its version and its two models, always the same bytes. Pure.

Both models are always loaded: what loading costs is measured by another part, on another stub.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from bench.servers.answers import EMBEDDER, MODEL

_WHEN: Final = "2026-01-02T03:04:05Z"
_NEVER: Final = "2300-01-01T00:00:00Z"
_SIZE: Final = 1_000_000_000


def _model(name: str, family: str, capability: str) -> Mapping[str, Any]:
    details = {"parent_model": "", "format": "gguf", "family": family, "families": [family]}
    return {
        "name": name,
        "model": name,
        "modified_at": _WHEN,
        "size": _SIZE,
        "digest": f"{len(family):064x}",
        "details": {**details, "parameter_size": "1B", "quantization_level": "Q4_0"},
        "capabilities": [capability],
    }


_MODELS: Final = (_model(MODEL, "llama", "completion"), _model(EMBEDDER, "nomic-bert", "embedding"))
_LOADED: Final = {"expires_at": _NEVER, "size_vram": _SIZE, "context_length": 4096}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


SHOWN: Final = {
    "/": "Ollama is running",
    "/api/version": _json({"version": "0.33.0"}),
    "/api/tags": _json({"models": _MODELS}),
    "/api/ps": _json({"models": [{**model, **_LOADED} for model in _MODELS]}),
    "/api/show": _json({"details": _MODELS[0]["details"], "model_info": {"llama.context_length": 4096}}),
    "/v1/models": _json(
        {
            "object": "list",
            "data": [
                {"id": model["name"], "object": "model", "created": 1767323045, "owned_by": "library"}
                for model in _MODELS
            ],
        }
    ),
}
