"""Where requests go: routes, shares of backends, endpoints of a pool."""

from collections import Counter

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import Configuration, one_pool
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway


def two_services(stable: str, canary: str, *, weights: tuple[int, int]) -> Configuration:
    """Two services, each with a pool of one, that share a route."""
    places = {"stable": stable, "canary": canary}
    shares = zip(places, weights, strict=True)
    return {
        "upstreams": [{"name": name, "endpoints": [{"address": address}]} for name, address in places.items()],
        "services": [{"name": name, "upstream_service": {"upstream": name, "schema": "OPENAI"}} for name in places],
        "routes": [
            {
                "name": "chat",
                "match": {"models": ["m"]},
                "backends": [{"service": name, "weight": weight} for name, weight in shares],
            }
        ],
    }


async def test_shares_of_backends_are_exact(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    stable, canary = await upstreams(2)
    await gateway.apply(two_services(stable.address, canary.address, weights=(3, 1)))

    services = Counter([(await ask(caller, streamed=streamed)).headers["x-janua-service"] for _ in range(12)])

    assert services == {"stable": 9, "canary": 3}
    assert (len(stable.requests), len(canary.requests)) == (9, 3)


async def test_backend_of_weight_zero_gets_nothing(gateway: Gateway, upstreams: Upstreams, caller: Caller) -> None:
    stable, canary = await upstreams(2)
    await gateway.apply(two_services(stable.address, canary.address, weights=(1, 0)))
    for _ in range(4):
        assert_answered(await ask(caller))
    assert (len(stable.requests), len(canary.requests)) == (4, 0)


async def test_endpoints_of_a_pool_take_turns(gateway: Gateway, upstreams: Upstreams, caller: Caller) -> None:
    first, second = await upstreams(2)
    await gateway.apply(one_pool(first.address, second.address))
    for _ in range(6):
        assert_answered(await ask(caller))
    assert (len(first.requests), len(second.requests)) == (3, 3)


async def test_unknown_model(gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool) -> None:
    (upstream,) = await upstreams(1)
    await gateway.apply(one_pool(upstream.address, route={"match": {"models": ["m"]}}))

    answer = await ask(caller, Question(model="other"), streamed=streamed)

    failure = assert_refused(answer, Kind.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "other" in failure.message
    assert failure.param == "model"
    assert upstream.requests == []


async def test_header_leads_to_another_route(gateway: Gateway, upstreams: Upstreams, caller: Caller) -> None:
    silver, gold = await upstreams(2)
    configuration = two_services(silver.address, gold.address, weights=(1, 0))
    match = {"models": ["m"], "headers": [{"name": "x-tier", "exact": "gold"}]}
    golden = {"name": "golden", "match": match, "backends": [{"service": "canary"}]}
    await gateway.apply({**configuration, "routes": [*configuration["routes"], golden]})

    with_header = await ask(caller, Question(headers={"x-tier": "gold"}))
    without = await ask(caller)

    assert (with_header.headers["x-janua-route"], without.headers["x-janua-route"]) == ("golden", "chat")
    assert (len(silver.requests), len(gold.requests)) == (1, 1)


async def test_draining_endpoint_gets_nothing_new(gateway: Gateway, upstreams: Upstreams, caller: Caller) -> None:
    first, second = await upstreams(2)
    endpoints = [{"address": first.address, "state": "DRAINING"}, {"address": second.address}]
    await gateway.apply(one_pool(upstream={"endpoints": endpoints}))
    for _ in range(4):
        assert_answered(await ask(caller))
    assert (len(first.requests), len(second.requests)) == (0, 4)
