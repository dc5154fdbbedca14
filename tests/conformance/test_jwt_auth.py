"""Tokens of an issuer whose keys stand at an address: who is let in, whatever becomes of the issuer."""

import json
from typing import Any

import pytest

from tests.conformance.calls import Caller, CallFailedError, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.http_caller import HttpCaller
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import Exchange, Script, answer, cut, fail, stall
from tests.support.tokens import assembled, claims, ec_key, jwk, key_set, policy, rsa_key, token

KEY = "sk-alice-0123456789"
OLD, NEW, STRANGER = rsa_key(), ec_key(), ec_key()


def publishes(*keys: dict[str, Any]) -> Script:
    return answer(response(200, key_set(*keys).encode()))


def configuration(backend: FaultyUpstream, *policies: str, **spec: Any) -> dict[str, Any]:
    """One pool for whom these policies let in; `alice` has a key and a subject, and only the staff may."""
    config = dict(with_keys(one_pool(backend.address), api_key(KEY)))
    config["consumers"] = [{**config["consumers"][0], "jwt_subjects": ["alice@example"], "groups": ["readers"]}]
    config["policies"] = [
        *config["policies"],
        policy(**spec),
        {"name": "staff", "authorization": {"allow": [{"groups": ["staff"]}]}},
    ]
    config["routes"] = [{**config["routes"][0], "policies": list(policies or ("sso",))}]
    return config


def bearer(presented: str) -> Question:
    return Question(headers={"authorization": f"Bearer {presented}"})


def good(subject: str = "alice@example", **changes: Any) -> str:
    return token(OLD, claims(subject, **changes), algorithm="RS256")


@pytest.fixture
async def issuer(upstreams: Upstreams) -> FaultyUpstream:
    """Where keys are published: of `OLD`."""
    (issuer,) = await upstreams(1)
    issuer.script = publishes(jwk(OLD))
    return issuer


async def test_token_is_let_in_and_not_forwarded(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(configuration(upstream, jwks_uri=f"{issuer.url}/jwks"))

    answered = await ask(caller, bearer(good()), streamed=streamed)

    assert_answered(answered)
    entry = await gateway.access_log_entry(answered.headers["x-request-id"])
    assert entry["consumer"] == "alice"
    (request,) = upstream.requests
    assert request.header("authorization") is None
    assert "eyJ" not in str(request)
    assert [request.target for request in issuer.requests] == ["/jwks"]


async def test_unknown_subject_is_nobodys_consumer_unless_one_is_required(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    inline = key_set(jwk(OLD))
    await gateway.apply(configuration(upstream, jwks=inline))
    answered = await ask(caller, bearer(good("bob")))
    assert_answered(answered)
    assert (await gateway.access_log_entry(answered.headers["x-request-id"]))["consumer"] == "jwt:bob"

    await gateway.apply(configuration(upstream, jwks=inline, require_consumer=True))
    assert_refused(await ask(caller, bearer(good("bob"))), Kind.UNAUTHENTICATED, "INVALID_TOKEN")
    assert_answered(await ask(caller, bearer(good())))


async def test_groups_of_tokens_are_authorized(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    spec = {"jwks": key_set(jwk(OLD)), "groups_claim": "realm.roles"}
    await gateway.apply(configuration(upstream, "sso", "staff", **spec))

    assert_answered(await ask(caller, bearer(good(realm={"roles": ["staff"]}))))
    assert_answered(await ask(caller, bearer(good("bob", realm={"roles": ["staff"]}))))
    for told in ({"roles": ["others"]}, {}, None):
        assert_refused(await ask(caller, bearer(good(realm=told))), Kind.PERMISSION_DENIED, "PERMISSION_DENIED")


BAD = {
    "none": ("", "MISSING_TOKEN"),
    "expired": (good(exp=1_000), "EXPIRED_TOKEN"),
    "not valid yet": (good(nbf=4_000_000_000), "INVALID_TOKEN"),
    "other audience": (good(aud="other"), "INVALID_TOKEN"),
    "other issuer": (good(iss="https://else.example"), "INVALID_TOKEN"),
    "unsigned": (assembled({"alg": "none", "kid": "k1"}, claims()), "INVALID_TOKEN"),
    "forged": (token(STRANGER, claims(), key_id="k1"), "INVALID_TOKEN"),
    "unknown key": (token(STRANGER, claims(), key_id="stranger"), "INVALID_TOKEN"),
    "algorithm that is not taken": (token(OLD, claims(), algorithm="PS256"), "INVALID_TOKEN"),
    "an API key": (KEY, "INVALID_TOKEN"),
    "garbage": ("eyJ.!.x", "INVALID_TOKEN"),
}


@pytest.mark.parametrize("name", BAD)
async def test_caller_without_a_good_token_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, name: str
) -> None:
    await gateway.apply(configuration(upstream, jwks=key_set(jwk(OLD))))
    presented, reason = BAD[name]

    refused = await ask(caller, bearer(presented), streamed=streamed)

    failure = assert_refused(refused, Kind.UNAUTHENTICATED, reason)
    assert "eyJ" not in str(failure)
    assert upstream.requests == []


async def test_huge_token_is_refused(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(configuration(upstream, jwks=key_set(jwk(OLD))))
    # gRPC itself takes 8 KiB of metadata and a little more.
    size = 30_000 if caller.wire.value == "http" else 6_000
    refused = await ask(caller, bearer("eyJ" + "x" * size + ".x.x"))
    assert_refused(refused, Kind.UNAUTHENTICATED, "INVALID_TOKEN")


@pytest.mark.parametrize("order", [("keys", "sso"), ("sso", "keys")], ids=["key-first", "token-first"])
@pytest.mark.parametrize("optional", [False, True])
async def test_tokens_and_keys_are_alternatives_in_either_order(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, order: tuple[str, str], optional: bool
) -> None:
    config = configuration(upstream, *order, jwks=key_set(jwk(OLD)), optional=optional)
    await gateway.apply(config)

    for question in (bearer(good()), bearer(KEY), Question(headers={"x-api-key": KEY})):
        answered = await ask(caller, question)
        assert_answered(answered)
        assert (await gateway.access_log_entry(answered.headers["x-request-id"]))["consumer"] == "alice"
    told = {
        good(exp=1_000): "EXPIRED_TOKEN",
        good(aud="other"): "INVALID_TOKEN",
        "sk-unknown": "INVALID_API_KEY",
    }
    for presented, reason in told.items():
        assert_refused(await ask(caller, bearer(presented)), Kind.UNAUTHENTICATED, reason)
    anonymous = await ask(caller)
    if optional:
        assert_answered(anonymous)
    else:
        assert anonymous.failure is not None
        assert anonymous.failure.reason.startswith("MISSING")


async def test_two_issuers_on_one_route(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    config = configuration(upstream, "sso", "other", jwks_uri=issuer.url)
    other = policy(issuer="https://else.example", jwks=key_set(jwk(NEW)), subject_prefix="else/")
    config["policies"].append({**other, "name": "other"})
    await gateway.apply(config)

    consumers = []
    for presented in (good(), token(NEW, claims(iss="https://else.example"))):
        answered = await ask(caller, bearer(presented))
        assert_answered(answered)
        consumers.append((await gateway.access_log_entry(answered.headers["x-request-id"]))["consumer"])
    assert consumers == ["alice", "jwt:else/alice@example"]
    forged = token(STRANGER, claims(iss="https://else.example"))
    failure = assert_refused(await ask(caller, bearer(forged)), Kind.UNAUTHENTICATED, "INVALID_TOKEN")
    assert failure.message == "the token's signature is wrong"


async def test_keys_are_found_by_what_the_issuer_says_of_itself(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    async def script(exchange: Exchange) -> None:
        said = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
        is_of_keys = exchange.request.target == "/keys"
        await exchange.send(response(200, (key_set(jwk(OLD)) if is_of_keys else json.dumps(said)).encode()))

    issuer.script = script
    await gateway.apply(configuration(upstream, issuer=issuer.url))
    assert_answered(await ask(caller, bearer(good(iss=issuer.url))))
    assert_refused(await ask(caller, bearer(good())), Kind.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_rotated_keys_overlap(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    issuer.script = publishes(jwk(NEW, "k2"), jwk(OLD, "k1"))
    await gateway.apply(configuration(upstream, jwks_uri=f"{issuer.url}/rotated"))
    assert_answered(await ask(caller, bearer(good())))
    assert_answered(await ask(caller, bearer(token(NEW, claims(), key_id="k2"))))


@pytest.mark.parametrize(
    "script",
    [fail(500), fail(404), answer(response(200, b"<html>")), cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", 41)],
    ids=["500", "404", "garbage", "cut"],
)
async def test_without_keys_requests_are_told_to_come_again(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller, script: Script
) -> None:
    issuer.script = script
    await gateway.apply(configuration(upstream, "sso", "keys", jwks_uri=f"{issuer.url}/broken"))
    status, _ = await gateway.get("/readyz")
    assert status == 200

    failure = assert_refused(await ask(caller, bearer(good())), Kind.UNAVAILABLE, "JWKS_UNAVAILABLE")

    assert failure.retry_after_s == 5
    assert issuer.address not in failure.message
    # Who has a key does not need the issuer.
    assert_answered(await ask(caller, bearer(KEY)))


async def test_issuer_that_is_slow_at_first_is_waited_for(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    issuer.next.append(cut(b"", 0))  # it is read again after a second
    await gateway.apply(configuration(upstream, jwks_uri=f"{issuer.url}/slow"))
    await issuer.wait_for_requests(2)
    assert_answered(await ask(caller, bearer(good())))


async def test_keys_stay_when_the_issuer_goes(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    url = issuer.url
    await gateway.apply(configuration(upstream, jwks_uri=url))
    assert_answered(await ask(caller, bearer(good())))
    await issuer.stop()

    await gateway.apply(configuration(upstream, jwks_uri=url, leeway="1s"))

    assert_answered(await ask(caller, bearer(good("bob"))))
    for number in range(20):
        unknown = token(STRANGER, claims(), key_id=f"stranger-{number}")
        assert_refused(await ask(caller, bearer(unknown)), Kind.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_strangers_do_not_have_the_issuer_asked(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(configuration(upstream, jwks_uri=issuer.url))
    for number in range(50):
        unknown = token(STRANGER, claims(), key_id=f"stranger-{number}")
        assert_refused(await ask(caller, bearer(unknown)), Kind.UNAUTHENTICATED, "INVALID_TOKEN")
    assert len(issuer.requests) == 1


async def test_issuer_that_never_answers_holds_requests_no_longer_than_five_seconds(
    gateway: Gateway, upstream: FaultyUpstream, issuer: FaultyUpstream, http: HttpCaller
) -> None:
    issuer.script = stall()
    await gateway.apply(configuration(upstream, jwks_uri=issuer.url))
    assert_refused(await ask(http, bearer(good())), Kind.UNAVAILABLE, "JWKS_UNAVAILABLE")


async def test_models_are_listed_for_those_with_a_token(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    config = configuration(upstream, jwks=key_set(jwk(OLD)))
    config["routes"][0]["match"] = {"models": ["m"]}
    await gateway.apply(config)
    assert (await caller.models({"authorization": f"Bearer {good()}"})).ids == ["m"]
    with pytest.raises(CallFailedError) as refused:
        await caller.models({"authorization": f"Bearer {good(exp=5)}"})
    assert refused.value.failure.reason == "EXPIRED_TOKEN"
