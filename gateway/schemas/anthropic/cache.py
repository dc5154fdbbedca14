"""Marks of where a prompt is worth caching, to canonical and back."""

from typing import Any

from gateway.schemas.json_fields import Fields
from gateway.types import CacheTtl


def decode_cache(fields: Fields) -> CacheTtl | None:
    """The mark on a block or tool."""
    if not fields.has("cache_control"):
        return None
    return CacheTtl.ONE_HOUR if fields.object("cache_control").value("ttl") == "1h" else CacheTtl.DEFAULT


def encode_cache(block: dict[str, Any], cache: CacheTtl | None) -> dict[str, Any]:
    """The block or tool with its mark."""
    match cache:
        case None:
            return block
        case CacheTtl.DEFAULT:
            return {**block, "cache_control": {"type": "ephemeral"}}
        case CacheTtl.ONE_HOUR:
            return {**block, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
