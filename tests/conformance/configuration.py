"""Configurations as a user would write them, for the cases that most tests need."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

Configuration: TypeAlias = Mapping[str, Any]

EMPTY: Configuration = {}


def one_pool(
    *addresses: str,
    service: Mapping[str, Any] | None = None,
    route: Mapping[str, Any] | None = None,
    upstream: Mapping[str, Any] | None = None,
    **others: Any,
) -> Configuration:
    """All models from one pool of these endpoints. `service`, `route` and `upstream` add fields, `others` resources."""
    endpoints = [{"address": address} for address in addresses]
    return {
        "upstreams": [{"name": "pool", "endpoints": endpoints, **(upstream or {})}],
        "services": [{"name": "llm", "upstream_service": {"upstream": "pool", "schema": "OPENAI"}, **(service or {})}],
        "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}], **(route or {})}],
        **others,
    }


def first_then(*addresses: str, **fields: Any) -> Configuration:
    """The same as `one_pool`, but each endpoint is for what fails on those before it."""
    endpoints = [{"address": address, "priority": number} for number, address in enumerate(addresses)]
    return one_pool(*addresses, **{**fields, "upstream": {"endpoints": endpoints, **fields.get("upstream", {})}})


def with_keys(configuration: Configuration, *keys: Mapping[str, Any], optional: bool = False) -> Configuration:
    """The same for callers with a key; the keys are those of one consumer, `alice`."""
    routes = [{**route, "policies": ["keys"]} for route in configuration["routes"]]
    return {
        **configuration,
        "routes": routes,
        "policies": [{"name": "keys", "api_key_auth": {"optional": optional}}],
        "consumers": [{"name": "alice", "api_keys": list(keys)}],
    }


def api_key(key: str, **fields: str) -> Mapping[str, Any]:
    """A consumer's key, hashed as configurations hold it."""
    return {"key_sha256": sha256(key.encode()).hexdigest(), **fields}


def proxy_service(name: str, base_url: str, *, secret: str | None = None, **fields: Any) -> Mapping[str, Any]:
    """A provider of one's own at that URL."""
    credentials: Sequence[Mapping[str, str]] = [{"secret": secret}] if secret else []
    proxy = {"provider": "custom", "base_url": base_url, "credentials": credentials, **fields}
    return {"name": name, "proxy_service": proxy}
