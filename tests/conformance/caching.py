"""Routes with a cache, and the callers who share it."""

from collections.abc import Mapping
from typing import Any

from tests.conformance.calls import Answer, Question
from tests.conformance.configuration import Configuration, api_key, one_pool, with_keys

ALICE, BOB, EVE = "sk-alice-0123456789", "sk-bob-0123456789", "sk-eve-0123456789"
TTL = {"ttl": "300s"}


def cached(address: str, cache: Mapping[str, Any] | None = None, **fields: Any) -> Configuration:
    """One pool behind a route with a cache; callers may have a key: alice and bob are of one group, eve of none."""
    config = dict(with_keys(one_pool(address, **fields), api_key(ALICE), optional=True))
    config["consumers"][0]["groups"] = ["staff"]
    config["consumers"] += [
        {"name": "bob", "groups": ["staff"], "api_keys": [api_key(BOB)]},
        {"name": "eve", "api_keys": [api_key(EVE)]},
    ]
    config["policies"].append({"name": "cache", "cache": {**TTL, **(cache or {})}})
    config["routes"][0]["policies"].append("cache")
    return config


def by(key: str, **headers: str) -> Question:
    return Question(headers={"authorization": f"Bearer {key}", **headers})


def result(told: Answer) -> str:
    return told.headers.get("x-janua-cache", "")
