"""JSON Schemas in Gemini's requests: its older fields hold OpenAPI's dialect, with types in capitals or as numbers."""

from collections.abc import Mapping
from typing import Any

from gateway.schemas.gemini.fields import camel

_SUBSCHEMAS = frozenset({"items", "additionalProperties", "not"})
_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPS = frozenset({"properties", "$defs", "defs", "patternProperties"})

# 64-bit integers, which protobuf's JSON writes as strings.
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})

_TYPES = ("", "string", "number", "integer", "boolean", "array", "object", "null")


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain JSON Schema."""
    fields = {camel(name): value for name, value in schema.items()}
    is_nullable = fields.pop("nullable", None)
    converted = {name: _converted(name, value) for name, value in fields.items()}
    if converted.get("type") in ("", "type_unspecified"):
        del converted["type"]
    if is_nullable is True and isinstance(kind := converted.get("type"), str):
        converted["type"] = [kind, "null"]
    return converted


def _converted(name: str, value: Any) -> Any:
    if name == "type":
        return _type(value)
    if name in _COUNTS and isinstance(value, str) and value.isdecimal():
        return int(value)
    if name in _SUBSCHEMAS and isinstance(value, dict):
        return json_schema(value)
    if name in _LISTS and isinstance(value, list):
        return [json_schema(each) if isinstance(each, dict) else each for each in value]
    if name in _MAPS and isinstance(value, dict):
        return {key: json_schema(each) if isinstance(each, dict) else each for key, each in value.items()}
    return value


def _type(value: Any) -> Any:
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_TYPES):
        return _TYPES[value]
    return value
