"""OpenAPI's dialect of JSON Schema, as Gemini's older fields hold it, read as JSON Schema."""

from typing import Any

import pytest

from gateway.schemas.gemini.schema import json_schema


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({}, {}),
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": 5, "items": {"type": 3}}, {"type": "array", "items": {"type": "integer"}}),
        ({"type": "TYPE_UNSPECIFIED"}, {}),
        ({"type": 0}, {}),
        ({"type": 99}, {"type": 99}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": False}, {"type": "string"}),
        ({"max_items": "5", "minLength": "1", "maxLength": 2}, {"maxItems": 5, "minLength": 1, "maxLength": 2}),
        ({"any_of": [{"type": "NULL"}, True]}, {"anyOf": [{"type": "null"}, True]}),
        (
            {"type": "OBJECT", "properties": {"max_items": {"type": "NUMBER"}, "nullable": {"type": "BOOLEAN"}}},
            {"type": "object", "properties": {"max_items": {"type": "number"}, "nullable": {"type": "boolean"}}},
        ),
        ({"enum": ["STRING"], "description": "TYPE"}, {"enum": ["STRING"], "description": "TYPE"}),
    ],
)
def test_schema(schema: dict[str, Any], plain: dict[str, Any]) -> None:
    assert json_schema(schema) == plain
