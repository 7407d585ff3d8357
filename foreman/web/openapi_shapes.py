"""What the shapes of foreman's own routes are put together from, as JSON Schema."""

from typing import Any, Final

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: Schema, optional: Schema | None = None, *, closed: bool = False, **more: object) -> Schema:
    """An object with these members; a closed one has no others."""
    shape = {"type": "object", "required": sorted(required), "properties": {**required, **(optional or {})}, **more}
    return {**shape, "additionalProperties": False} if closed else shape


def array(items: Schema, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


def or_null(schema: Schema) -> Schema:
    """The same, or null where nothing is known or not yet."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def words(names: object, text: str = "") -> Schema:
    found: Schema = {"type": "string", "enum": [str(name) for name in names]}  # type: ignore[attr-defined]
    return {**found, "description": text} if text else found


TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SWITCH: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.123Z"]}
SECONDS: Final[Schema] = {"type": "number", "description": "seconds"}
ID: Final[Schema] = {
    "type": "string",
    "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
    "description": "a ULID",
    "examples": ["01M7Y85ES1M7RYVESTD1QG1G0Z"],
}
