"""Policies on who may call what: on routes, services and consumers, over HTTP and gRPC alike."""

from typing import Any

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream

STAFF, GUEST = "sk-staff-0123456789", "sk-guest-0123456789"


def configuration(address: str, policy: dict[str, Any], *users: str) -> dict[str, Any]:
    """One pool with keys of a member of staff and a guest, and a policy that `users` name."""
    config = dict(with_keys(one_pool(address), api_key(STAFF)))
    config["consumers"][0]["groups"] = ["staff"]
    config["consumers"].append({"name": "guest", "api_keys": [api_key(GUEST)]})
    config["policies"].append({"name": "rule", **policy})
    named = {"route": config["routes"], "service": config["services"], "consumer": config["consumers"]}
    for user in users:
        for resource in named[user]:
            resource["policies"] = [*resource.get("policies", []), "rule"]
    return config


def key(value: str) -> Question:
    return Question(headers={"authorization": f"Bearer {value}"})


@pytest.mark.parametrize("user", ["route", "service", "consumer"])
@pytest.mark.parametrize(
    "rule",
    [{"allow": [{"groups": ["staff"]}]}, {"expression": '"staff" in consumer.groups'}],
    ids=["list", "expression"],
)
async def test_only_who_is_allowed_gets_an_answer(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str, rule: dict[str, Any]
) -> None:
    await gateway.apply(configuration(upstream.address, {"authorization": rule}, user))

    assert_answered(await ask(caller, key(STAFF), streamed=streamed))
    asked = len(upstream.requests)
    refused = await ask(caller, key(GUEST), streamed=streamed)

    assert_refused(refused, Kind.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert len(upstream.requests) == asked


async def test_models_are_listed_for_those_who_may_use_them(gateway: Gateway, caller: Caller) -> None:
    rule = {"authorization": {"allow": [{"groups": ["staff"]}, {"models": ["open"]}]}}
    config = configuration("127.0.0.1:9", rule, "route")
    config["routes"][0]["match"] = {"models": ["open", "internal"]}
    await gateway.apply(config)

    assert (await caller.models({"authorization": f"Bearer {STAFF}"})).ids == ["internal", "open"]
    assert (await caller.models({"authorization": f"Bearer {GUEST}"})).ids == ["open"]


@pytest.mark.parametrize("user", ["route"])
async def test_callers_from_other_addresses_are_refused_before_their_key_is_looked_at(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, user: str
) -> None:
    await gateway.apply(configuration(upstream.address, {"ip_filter": {"deny": ["127.0.0.0/8", "::1"]}}, user))

    assert_refused(await ask(caller, key("sk-unknown")), Kind.PERMISSION_DENIED, "ADDRESS_NOT_ALLOWED")
    assert upstream.requests == []


async def test_allowed_address_goes_on(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(configuration(upstream.address, {"ip_filter": {"allow": ["127.0.0.1", "::1"]}}, "route"))
    assert_answered(await ask(caller, key(GUEST)))
