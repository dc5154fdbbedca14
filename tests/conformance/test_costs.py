"""What requests cost: in the metrics and in the access log, for whole answers and streams, over both protocols."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import Caller, Question, ask, assert_answered
from tests.conformance.configuration import Configuration, one_pool
from tests.conformance.conftest import Upstreams
from tests.conformance.dialect_backends import answering
from tests.conformance.dialect_table import BACKENDS, HTTP_CLIENTS
from tests.conformance.dialects import Ask, HttpClient, Node, Told
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import HELLO, MODEL, ROLE, STOP, USAGE, stream_of
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, sse
from tests.support.scripts import answer, chat, chat_completion, fail

PRICE = {"input": 2.0, "cached_input": 0.5, "output": 10.0, "request": 0.001}
HELLO_THERE_USD = (1 * 2.0 + 2 * 10.0) / 1e6 + 0.001
"""Of `hello there`, whose usage is one token in and two out."""


def priced(address: str, price: Mapping[str, float] = PRICE, **model: Any) -> Configuration:
    return one_pool(address, service={"models": [{"name": "m", "price": price, **model}]})


class Costs:
    """How the metrics change from one moment to the next: the node is shared by all tests."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before: dict[tuple[str, str], float] = {}

    async def _read(self, model: str) -> dict[tuple[str, str], float]:
        of = self._gateway.metric
        labels = {"service": "llm", "model": model}
        return {
            ("usd", ""): await of("janua_cost_usd_total", labels),
            ("unknown", "NO_USAGE"): await of("janua_cost_unknown_total", {**labels, "reason": "NO_USAGE"}),
            ("unknown", "NO_PRICE"): await of("janua_cost_unknown_total", {**labels, "reason": "NO_PRICE"}),
        }

    async def begin(self, model: str = "m") -> None:
        self._before = await self._read(model)

    async def grown(self, model: str = "m") -> Mapping[str, float]:
        await self._gateway.wait_until_idle()
        after = await self._read(model)
        return {reason or what: after[what, reason] - self._before[what, reason] for what, reason in after}


@pytest.fixture
async def costs(gateway: Gateway) -> Costs:
    costs = Costs(gateway)
    await costs.begin()
    return costs


async def test_cost_is_counted_and_logged(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, costs: Costs
) -> None:
    upstream.script = chat()
    await gateway.apply(priced(upstream.address))

    answer = await ask(caller, streamed=streamed)

    assert_answered(answer)
    assert await costs.grown() == {"usd": pytest.approx(HELLO_THERE_USD), "NO_USAGE": 0, "NO_PRICE": 0}
    entry = await gateway.access_log_entry(answer.headers["x-request-id"])
    assert entry["cost_usd"] == pytest.approx(HELLO_THERE_USD)


async def test_service_without_prices_has_no_cost(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, costs: Costs
) -> None:
    upstream.script = chat()
    await gateway.apply(one_pool(upstream.address))
    answer = await ask(caller, streamed=streamed)
    assert await costs.grown() == {"usd": 0, "NO_USAGE": 0, "NO_PRICE": 0}
    assert "cost_usd" not in await gateway.access_log_entry(answer.headers["x-request-id"])


async def test_model_that_is_free_of_charge_costs_nought_and_says_so(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, costs: Costs
) -> None:
    upstream.script = chat()
    await gateway.apply(priced(upstream.address, {}))
    answer = await ask(caller)
    assert await costs.grown() == {"usd": 0, "NO_USAGE": 0, "NO_PRICE": 0}
    assert (await gateway.access_log_entry(answer.headers["x-request-id"]))["cost_usd"] == 0


async def test_model_without_a_price_is_counted_as_unknown_under_one_name(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, costs: Costs
) -> None:
    """Clients make up names of models: metrics must not grow with them."""
    upstream.script = chat()
    await gateway.apply(one_pool(upstream.address, service={"models": [{"name": "other-one", "price": PRICE}]}))
    await costs.begin("other")
    answer = await ask(caller, streamed=streamed)
    assert await costs.grown("other") == {"usd": 0, "NO_USAGE": 0, "NO_PRICE": 1}
    assert "cost_usd" not in await gateway.access_log_entry(answer.headers["x-request-id"])


async def test_backend_that_never_tells_its_usage_is_counted_as_unknown(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, costs: Costs
) -> None:
    whole = {name: value for name, value in chat_completion("hello there", model=MODEL).items() if name != "usage"}
    upstream.script = stream_of(sse(ROLE, HELLO, STOP)) if streamed else answer(json_response(200, whole))
    await gateway.apply(priced(upstream.address))
    reply = await ask(caller, streamed=streamed)
    assert reply.failure is None
    assert await costs.grown() == {"usd": 0, "NO_USAGE": 1, "NO_PRICE": 0}
    assert "cost_usd" not in await gateway.access_log_entry(reply.headers["x-request-id"])


async def test_price_of_requests_alone_needs_no_usage_and_changes_no_stream(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, costs: Costs
) -> None:
    upstream.script = stream_of(sse(ROLE, HELLO, STOP))
    await gateway.apply(priced(upstream.address, {"request": 0.25}))
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    assert await relayed(gateway, session, body) == b"".join(sse(ROLE, HELLO, STOP))
    assert upstream.requests[0].json() == body
    assert (await costs.grown())["usd"] == pytest.approx(0.25)


async def test_refused_and_failed_requests_cost_nothing(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, costs: Costs
) -> None:
    upstream.script = fail(400)
    await gateway.apply(priced(upstream.address))
    assert (await ask(caller)).failure is not None
    assert await costs.grown() == {"usd": 0, "NO_USAGE": 0, "NO_PRICE": 0}


async def test_the_service_that_answers_is_charged(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    """Not the one that failed before it, whose model has another price."""
    dear, cheap = await upstreams(2)
    dear.script = fail(503)
    cheap.script = chat()
    services = [
        {
            "name": name,
            "upstream_service": {"upstream": name},
            "models": [{"name": "m", "price": {"output": dollars}}],
            "retry_policy": {"num_retries": 0},
        }
        for name, dollars in (("dear", 1000.0), ("cheap", 1.0))
    ]
    backends = [{"service": "dear"}, {"service": "cheap", "priority": 1}]
    await gateway.apply(
        {
            "upstreams": [
                {"name": "dear", "endpoints": [{"address": dear.address}]},
                {"name": "cheap", "endpoints": [{"address": cheap.address}]},
            ],
            "services": services,
            "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": backends}],
        }
    )
    reply = await ask(caller, streamed=streamed)
    assert_answered(reply)
    entry = await gateway.access_log_entry(reply.headers["x-request-id"])
    assert entry["cost_usd"] == pytest.approx(2e-6)
    assert await gateway.metric("janua_cost_usd_total", {"service": "dear"}) == 0


async def test_embeddings_cost_what_they_read(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, costs: Costs
) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    usage = {"prompt_tokens": 1000, "total_tokens": 1000}
    upstream.script = answer(json_response(200, {"object": "list", "model": "m", "data": data, "usage": usage}))
    await gateway.apply(priced(upstream.address, {"input": 3.0}))
    await caller.embed("m", ["hello"])
    assert (await costs.grown())["usd"] == pytest.approx(0.003)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: f"to-{backend.name}")
@pytest.mark.parametrize("client", HTTP_CLIENTS, ids=lambda client: f"from-{client.name}")
async def test_cached_tokens_are_counted_once_in_every_pair_of_dialects(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    client: HttpClient,
    backend: Any,
    streamed: bool,
    costs: Costs,
) -> None:
    cached = 400 if "cached tokens" in backend.has else 0
    upstream.script = answering(backend, Told(text="hello", usage=(1000, cached, 100)))
    await gateway.apply(
        {
            "upstreams": [{"name": "pool", "endpoints": [{"address": upstream.address}]}],
            "services": [
                {
                    "name": "llm",
                    "upstream_service": {"upstream": "pool", "schema": backend.name.upper()},
                    "models": [{"name": "m", "price": {"input": 10.0, "cached_input": 1.0, "output": 100.0}}],
                }
            ],
            "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
        }
    )
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert reply.error is None
    dollars = ((1000 - cached) * 10 + cached * 1 + 100 * 100) / 1e6
    assert (await costs.grown())["usd"] == pytest.approx(dollars)


# Streams of OpenAI's tell their usage only where they are asked to.

QUESTION = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


async def relayed(gateway: Gateway, session: aiohttp.ClientSession, body: Mapping[str, Any], path: str = "") -> bytes:
    url = f"http://{gateway.addresses.http}{path or '/v1/chat/completions'}"
    async with session.post(url, json=body) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_obfuscation": False}])
@pytest.mark.parametrize("upstream_name", [None, MODEL], ids=["bytes pass", "renamed"])
async def test_usage_is_asked_for_and_not_shown(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    options: Mapping[str, bool] | None,
    upstream_name: str | None,
    costs: Costs,
) -> None:
    upstream.script = chat()
    names = {"upstream_name": upstream_name} if upstream_name else {}
    await gateway.apply(priced(upstream.address, PRICE, **names))
    body = QUESTION if options is None else {**QUESTION, "stream_options": options}

    got = await relayed(gateway, session, body)

    asked = upstream.requests[0].json()
    assert asked == {
        **body,
        "model": upstream_name or "m",
        "stream_options": {**(options or {}), "include_usage": True},
    }
    assert b'"usage"' not in got
    assert [event["choices"][0]["delta"].get("content") for event in events(got)] == ["", "hello", " there", None]
    assert got.endswith(b"data: [DONE]\n\n")
    assert {event["model"] for event in events(got)} == {"m"}
    assert (await costs.grown())["usd"] == pytest.approx(HELLO_THERE_USD)


async def test_caller_who_asks_for_the_usage_gets_every_byte(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, costs: Costs
) -> None:
    written = sse(ROLE, HELLO, STOP, USAGE)
    upstream.script = stream_of(written)
    await gateway.apply(priced(upstream.address))
    body = {**QUESTION, "stream_options": {"include_usage": True}}
    assert await relayed(gateway, session, body) == b"".join(written)
    assert upstream.requests[0].json() == body
    assert (await costs.grown())["usd"] == pytest.approx(HELLO_THERE_USD)


async def test_usage_beside_the_last_choice_is_read_and_left_where_it_is(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, costs: Costs
) -> None:
    written = sse(ROLE, HELLO, {**STOP, "usage": USAGE["usage"]})
    upstream.script = stream_of(written)
    await gateway.apply(priced(upstream.address))
    assert await relayed(gateway, session, QUESTION) == b"".join(written)
    assert (await costs.grown())["usd"] == pytest.approx(HELLO_THERE_USD)


async def test_completions_are_asked_for_their_usage_too(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, costs: Costs
) -> None:
    envelope = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    choice = {"index": 0, "text": "hi", "finish_reason": "stop", "logprobs": None}
    alone = {**envelope, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    upstream.script = stream_of(sse({**envelope, "choices": [choice]}, alone))
    await gateway.apply(priced(upstream.address))
    got = await relayed(gateway, session, {"model": "m", "prompt": "hello", "stream": True}, "/v1/completions")
    assert got == b"".join(sse({**envelope, "choices": [choice]}))
    assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    assert (await costs.grown())["usd"] == pytest.approx(HELLO_THERE_USD)


async def test_without_prices_requests_and_streams_pass_byte_for_byte(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    written = sse(ROLE, HELLO, STOP, USAGE)
    upstream.script = stream_of(written)
    await gateway.apply(one_pool(upstream.address))
    data = b'{ "model":"m" ,"stream":true,  "messages":[]}'
    async with session.post(f"http://{gateway.addresses.http}/v1/chat/completions", data=data) as response:
        assert await response.read() == b"".join(written)
    assert upstream.requests[0].body == data


async def test_published_prices_are_those_of_the_provider(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    from genai_prices import Usage, calc_price

    upstream.script = chat()
    proxy = {"provider": "openai", "base_url": upstream.url}
    models = [{"name": "fast", "upstream_name": "gpt-4o-mini"}, {"name": "mine", "price": {"output": 1e6}}]
    await gateway.apply(
        {
            "services": [{"name": "llm", "proxy_service": proxy, "price_list": "PUBLISHED", "models": models}],
            "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
        }
    )
    expected = float(
        calc_price(Usage(input_tokens=1, output_tokens=2), "gpt-4o-mini", provider_id="openai").total_price
    )
    costs = Costs(gateway)
    for model, label, dollars in (("fast", "gpt-4o-mini", expected), ("mine", "mine", 2.0)):
        await costs.begin(label)
        assert_answered(await ask(caller, Question(model=model), streamed=streamed))
        assert (await costs.grown(label))["usd"] == pytest.approx(dollars)
    await costs.begin("other")
    assert_answered(await ask(caller, Question(model="nobody-knows"), streamed=streamed))
    assert await costs.grown("other") == {"usd": 0, "NO_USAGE": 0, "NO_PRICE": 1}


def events(data: bytes) -> Sequence[Any]:
    """The JSON of each event of a stream."""
    texts = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]
    return [json.loads(text) for text in texts if text != b"[DONE]"]
