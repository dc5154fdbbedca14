"""Routes whose cache finds answers by meaning."""

from collections.abc import Mapping
from typing import Any

from tests.conformance.caching import TTL
from tests.conformance.configuration import Configuration

MEANING = {"service": "embedder", "model": "vectors"}


def with_meaning(
    config: Configuration, embedder: str, semantic: Mapping[str, Any] | None = None, **service: Any
) -> Configuration:
    """The same, with answers found by meaning: vectors are those of a service at that address."""
    upstream = {"name": "embedders", "endpoints": [{"address": embedder}]}
    vectors_of = {"name": "embedder", "upstream_service": {"upstream": "embedders"}, **service}
    policies = [
        {**policy, "cache": {**TTL, **policy["cache"], "semantic": {**MEANING, **(semantic or {})}}}
        if "cache" in policy
        else policy
        for policy in config["policies"]
    ]
    return {
        **config,
        "upstreams": [*config["upstreams"], upstream],
        "services": [*config["services"], vectors_of],
        "policies": policies,
    }
