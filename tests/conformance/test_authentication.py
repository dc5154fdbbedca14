"""API keys: who is let in, how the others are told, and that no backend ever sees a key."""

import pytest

from tests.conformance.calls import Caller, CallFailedError, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream

KEY = "sk-alice-0123456789"
EXPIRED = "sk-alice-expired"
KEYS = (api_key(KEY), api_key(EXPIRED, expires="2020-01-01T00:00:00Z"))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-goog-api-key": KEY},
    ],
    ids=lambda headers: "-".join(headers),
)
async def test_known_key_is_let_in_and_not_forwarded(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, headers: dict[str, str]
) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), *KEYS))

    assert_answered(await ask(caller, Question(headers=headers)))

    (request,) = upstream.requests
    assert KEY not in str(request)
    assert request.header("authorization") is None


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "MISSING_API_KEY"),
        ({"authorization": "Basic YWxpY2U6c2VjcmV0"}, "MISSING_API_KEY"),
        ({"authorization": "Bearer sk-wrong"}, "INVALID_API_KEY"),
        ({"authorization": "Bearer"}, "MISSING_API_KEY"),
        ({"x-api-key": ""}, "MISSING_API_KEY"),
        ({"authorization": f"Bearer {EXPIRED}"}, "EXPIRED_API_KEY"),
        # The first credential counts: a right one does not make up for a wrong one.
        ({"authorization": "Bearer sk-wrong", "x-api-key": KEY}, "INVALID_API_KEY"),
    ],
)
async def test_caller_without_a_valid_key_is_refused(
    gateway: Gateway,
    upstream: FaultyUpstream,
    caller: Caller,
    streamed: bool,
    headers: dict[str, str],
    reason: str,
) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), *KEYS))

    answer = await ask(caller, Question(headers=headers), streamed=streamed)

    failure = assert_refused(answer, Kind.UNAUTHENTICATED, reason)
    assert "sk-" not in failure.message
    assert upstream.requests == []


async def test_optional_policy_lets_anonymous_callers_in(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), *KEYS, optional=True))
    assert_answered(await ask(caller))
    assert_answered(await ask(caller, Question(headers={"authorization": f"Bearer {KEY}"})))


async def test_optional_policy_refuses_wrong_keys(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), *KEYS, optional=True))
    answer = await ask(caller, Question(headers={"authorization": "Bearer sk-wrong"}))
    assert_refused(answer, Kind.UNAUTHENTICATED, "INVALID_API_KEY")


async def test_open_route_forwards_no_key_either(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "api-key": KEY, "x-goog-api-key": KEY, "cookie": KEY}
    assert_answered(await ask(caller, Question(headers=headers)))
    assert KEY not in str(upstream.requests[0])


async def test_model_list_needs_the_key_of_its_routes(gateway: Gateway, caller: Caller) -> None:
    await gateway.apply(with_keys(one_pool("127.0.0.1:9", route={"match": {"models": ["m"]}}), *KEYS))

    with pytest.raises(CallFailedError) as refused:
        await caller.models()

    assert refused.value.failure.status == Kind.UNAUTHENTICATED.on(caller.wire)
    assert refused.value.failure.reason == "MISSING_API_KEY"
    assert (await caller.models({"authorization": f"Bearer {KEY}"})).ids == ["m"]
