"""The way of a request through one configuration: which limits hold, under which name the model is asked for, who is
admitted, which models are listed, and what a new configuration keeps."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from gateway.config.resources import ReceivedResource
from gateway.config.snapshot import Failure, RetryConfig
from gateway.context import RequestContext
from gateway.errors import NotFoundError, UnauthenticatedError, UnavailableError
from gateway.filters.limits.state import LimitState
from gateway.filters.published_keys import KeyDirectory, KeyFetcher
from gateway.mirror import Mirrors
from gateway.operations.inference import ChatBody
from gateway.pipeline import LiveState, Pipeline
from gateway.plan import BackendPlan
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import OPENAI_CHAT
from gateway.telemetry.metrics import Metrics
from gateway.types import Operation
from gateway.upstream.answer import Exchange, StreamAnswer, UnaryAnswer
from gateway.upstream.call import Caller
from gateway.upstream.cluster_manager import ClusterManager
from tests.gateway.compile.resources import (
    empty_table,
    policy,
    proxy,
    put,
    resource,
    route,
    secret,
    service,
    upstream,
)
from tests.support.faulty_upstream import FaultyUpstream

ANN = resource("consumer", "ann", api_keys=[{"key_sha256": sha256(b"sk-ann").hexdigest()}])


class Node:
    """Configurations one after another, over the same live state."""

    def __init__(self) -> None:
        self.clusters = ClusterManager(random=Random(1))
        self.live = LiveState(
            self.clusters,
            Caller(metrics=Metrics(), random=Random(1)),
            Mirrors(),
            LimitState(metrics=Metrics()),
            KeyDirectory(KeyFetcher(), time.monotonic),
        )

    def use(self, *resources: ReceivedResource) -> Pipeline:
        table = empty_table()
        put(table, *resources)
        assert table.all_rejections == []
        snapshot = table.snapshot()
        self.live.reconcile(snapshot)
        return Pipeline(snapshot, self.live)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    running = asyncio.create_task(node.clusters.run())
    await asyncio.sleep(0)
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def context(model: str = "m", *, stream: bool = False, key: bytes = b"", **changes: Any) -> RequestContext:
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "protocol": "http",
        "operation": Operation.CHAT,
        "method": "POST",
        "path": "/v1/chat/completions",
        "host": "",
        "query_string": b"",
        "headers": {b"x-api-key": key} if key else {},
        "model": model,
        "is_streaming": stream,
        "client_address": "",
        "started": 0.0,
    }
    return RequestContext(**(fields | changes))


def body(model: str = "m", **more: object) -> ChatBody:
    written = json.dumps({"model": model, "messages": [], **more}).encode()
    return ChatBody(OPENAI_CHAT, written, model)


async def ask(pipeline: Pipeline, asked: RequestContext, **more: object) -> Exchange[ChatDialect]:
    return await pipeline.call(asked, await pipeline.route(asked), body(asked.model, **more))


async def only_backend(pipeline: Pipeline) -> BackendPlan:
    (backend,) = (await pipeline.route(context())).backends.values()
    return backend


# Limits and names.


@pytest.mark.parametrize(
    ("of_service", "of_route", "expected"),
    [
        ({}, {}, (None, 600.0, 60.0, 60.0)),
        ({"connect": "1s", "request": "2s", "first_token": "3s", "stream_idle": "4s"}, {}, (1.0, 2.0, 3.0, 4.0)),
        ({}, {"connect": "1s", "request": "2s", "first_token": "3s", "stream_idle": "4s"}, (1.0, 2.0, 3.0, 4.0)),
        (
            {"connect": "1s", "request": "2s", "first_token": "3s", "stream_idle": "4s"},
            {"request": "9s"},
            (1.0, 9.0, 3.0, 4.0),
        ),
    ],
)
async def test_timeouts_of_the_route_win_field_by_field(
    node: Node, of_service: dict[str, str], of_route: dict[str, str], expected: tuple[float | None, ...]
) -> None:
    llm = resource("service", "v", upstream_service={"upstream": "u"}, timeouts=of_service)
    chat = resource("route", "r", backends=[{"service": "v"}], timeouts=of_route)
    backend = await only_backend(node.use(upstream("u"), llm, chat))
    assert (
        backend.connect_timeout_s,
        backend.request_timeout_s,
        backend.first_token_timeout_s,
        backend.stream_idle_timeout_s,
    ) == expected


@pytest.mark.parametrize(
    ("of_service", "of_route", "expected"),
    [
        (None, None, RetryConfig()),
        (
            {"num_retries": 5, "retry_on": ["RETRY_ON_RESET"]},
            None,
            RetryConfig(num_retries=5, retry_on=frozenset({Failure.RESET})),
        ),
        ({"num_retries": 5}, {"num_retries": 1}, RetryConfig(num_retries=1)),
        ({"num_retries": 5}, {}, RetryConfig()),
    ],
)
async def test_retry_policy_of_the_route_wins_as_a_whole(
    node: Node, of_service: dict[str, Any] | None, of_route: dict[str, Any] | None, expected: RetryConfig
) -> None:
    llm = {"upstream_service": {"upstream": "u"}} | ({} if of_service is None else {"retry_policy": of_service})
    chat = {"backends": [{"service": "v"}]} | ({} if of_route is None else {"retry_policy": of_route})
    pipeline = node.use(upstream("u"), resource("service", "v", **llm), resource("route", "r", **chat))
    assert (await only_backend(pipeline)).retry == expected


@pytest.mark.parametrize(
    ("per_try", "first_token", "streamed", "unary"),
    [
        (None, None, 60.0, None),
        ("5s", None, 5.0, 5.0),
        (None, "5s", 5.0, None),
        ("9s", "5s", 5.0, 9.0),
        ("3s", "5s", 3.0, 3.0),
    ],
)
async def test_time_to_the_first_content(
    node: Node, per_try: str | None, first_token: str | None, streamed: float, unary: float | None
) -> None:
    fields: dict[str, Any] = {"backends": [{"service": "v"}]}
    fields |= {"retry_policy": {"per_try_timeout": per_try}} if per_try else {}
    fields |= {"timeouts": {"first_token": first_token}} if first_token else {}
    backend = await only_backend(node.use(upstream("u"), service("v"), resource("route", "r", **fields)))
    assert backend.first_content_timeout_s(is_streaming=True) == streamed
    assert backend.first_content_timeout_s(is_streaming=False) == unary


@pytest.mark.parametrize(
    ("override", "models", "sent"),
    [
        ("", [], "m"),
        ("", [{"name": "m", "upstream_name": "m.gguf"}], "m.gguf"),
        ("", [{"name": "other", "upstream_name": "x"}, {"name": "m"}], "m"),
        ("n", [], "n"),
        ("n", [{"name": "m", "upstream_name": "m.gguf"}], "n"),
        ("n", [{"name": "n", "upstream_name": "n.gguf"}], "n.gguf"),
    ],
)
async def test_model_is_asked_for_under_the_name_the_backend_knows(
    node: Node, faulty_upstream: FaultyUpstream, override: str, models: list[dict[str, str]], sent: str
) -> None:
    llm = resource("service", "v", upstream_service={"upstream": "u", "path_prefix": "/api"}, models=models)
    chat = resource("route", "r", backends=[{"service": "v", "model_override": override}])
    pipeline = node.use(upstream("u", f"http://{faulty_upstream.address}/base"), llm, chat)
    asked = context()
    exchange = await ask(pipeline, asked, temperature=0)
    assert isinstance(exchange.answer, UnaryAnswer)
    assert exchange.rename_model_to == (None if sent == "m" else "m")
    (request,) = faulty_upstream.requests
    assert request.target == "/base/api/v1/chat/completions"
    assert request.json() == {"model": sent, "messages": [], "temperature": 0}
    assert (asked.route, asked.service, asked.attempts) == ("r", "v", 1)
    assert asked.endpoint == f"http://{faulty_upstream.address}/base"
    assert asked.upstream_seconds > 0


async def test_provider_is_called_with_its_credential(node: Node, faulty_upstream: FaultyUpstream) -> None:
    pipeline = node.use(secret("s"), proxy("v", base_url=f"{faulty_upstream.url}/openai"), route("r"))
    await ask(pipeline, context(headers={b"authorization": b"Bearer sk-client", b"x-user": b"ann"}))
    (request,) = faulty_upstream.requests
    assert request.target == "/openai/v1/chat/completions"
    assert request.header("authorization") == "Bearer sk-1"
    assert (request.header("x-user"), request.header("x-request-id")) == ("ann", "r-1")


async def test_stream(node: Node, faulty_upstream: FaultyUpstream) -> None:
    pipeline = node.use(upstream("u", faulty_upstream.address), service("v"), route("r"))
    exchange = await ask(pipeline, context(stream=True), stream=True)
    assert isinstance(exchange.answer, StreamAnswer)
    exchange.answer.rest.close()
    assert faulty_upstream.requests[0].header("accept") == "text/event-stream"


@pytest.mark.parametrize("seconds", [5.0, 5000.0])
async def test_deadline_of_the_caller_can_only_shorten(
    node: Node, faulty_upstream: FaultyUpstream, seconds: float
) -> None:
    chat = resource("route", "r", backends=[{"service": "v"}], timeouts={"request": "100s"})
    pipeline = node.use(upstream("u", faulty_upstream.address), service("v"), chat)
    now = asyncio.get_running_loop().time()
    exchange = await ask(pipeline, context(stream=True, deadline=now + seconds), stream=True)
    assert isinstance(exchange.answer, StreamAnswer)
    due = exchange.answer.rest.deadline
    exchange.answer.rest.close()
    assert due == pytest.approx(now + min(seconds, 100.0), abs=2.0)


# Who is admitted.


async def test_nobody_takes_the_model(node: Node) -> None:
    pipeline = node.use(upstream("u"), service("v"), route("r", models=["other"]))
    asked = context("gemma")
    with pytest.raises(NotFoundError, match="no route takes the model 'gemma'") as caught:
        await pipeline.route(asked)
    assert (caught.value.reason, caught.value.param, asked.route) == ("MODEL_NOT_FOUND", "model", "")


async def test_open_route_asks_for_nothing(node: Node) -> None:
    asked = context(key=b"sk-wrong")
    await node.use(upstream("u"), service("v"), route("r"), ANN).route(asked)
    assert (asked.route, asked.consumer) == ("r", None)


async def test_caller_is_known_by_its_key(node: Node) -> None:
    pipeline = node.use(upstream("u"), service("v"), policy("keys"), route("r", "v", ["keys"]), ANN)
    asked = context(key=b"sk-ann")
    await pipeline.route(asked)
    assert asked.consumer is not None
    assert asked.consumer.name == "ann"
    for key, reason in [(b"", "MISSING_API_KEY"), (b"sk-bob", "INVALID_API_KEY")]:
        refused = context(key=key)
        with pytest.raises(UnauthenticatedError) as caught:
            await pipeline.route(refused)
        assert caught.value.reason == reason
        assert (refused.route, refused.consumer) == ("r", None), "a refusal is counted with its route"


@pytest.mark.parametrize("policies", [["strict", "lax"], ["lax", "strict"]])
async def test_ways_to_authenticate_are_alternatives(node: Node, policies: list[str]) -> None:
    lax = policy("lax", optional=True)
    pipeline = node.use(upstream("u"), service("v"), policy("strict"), lax, route("r", "v", policies), ANN)
    for key, name in [(b"sk-ann", "ann"), (b"", None)]:
        asked = context(key=key)
        await pipeline.route(asked)
        assert (asked.consumer.name if asked.consumer else None) == name
    with pytest.raises(UnauthenticatedError):
        await pipeline.route(context(key=b"sk-bob"))


# Models.


async def models(pipeline: Pipeline, **changes: Any) -> list[tuple[str, str]]:
    return [(model.id, model.owned_by) for model in await pipeline.models(context(**changes))]


async def test_exact_and_advertised_models_are_listed_once_by_name(node: Node) -> None:
    pipeline = node.use(
        upstream("u"),
        service("v"),
        service("w"),
        resource(
            "route",
            "a",
            match={"models": ["zeta", "gemma-*", "*"]},
            backends=[{"service": "v"}, {"service": "w"}],
            advertised_models=["alpha", "zeta"],
        ),
        resource("route", "b", match={"models": ["beta"]}, backends=[{"service": "w"}]),
        route("c"),
    )
    assert await models(pipeline) == [("alpha", "v"), ("beta", "w"), ("zeta", "v")]


async def test_models_of_other_hosts_are_not_listed(node: Node) -> None:
    pipeline = node.use(
        upstream("u"),
        service("v"),
        route("any", models=["everywhere"]),
        route("here", models=["here"], hosts=["a.example"]),
        route("wild", models=["wild"], hosts=["*.example"]),
        route("there", models=["there"], hosts=["b.example"]),
    )
    assert [model for model, _ in await models(pipeline, host="a.example")] == ["everywhere", "here", "wild"]
    assert [model for model, _ in await models(pipeline)] == ["everywhere"]


async def test_models_are_those_the_caller_may_use(node: Node) -> None:
    pipeline = node.use(
        upstream("u"),
        service("v"),
        policy("keys"),
        ANN,
        route("a", "v", ["keys"], models=["a"]),
        route("b", models=["b"]),
    )
    assert await models(pipeline) == [("b", "v")]
    assert await models(pipeline, key=b"sk-ann") == [("a", "v"), ("b", "v")]


async def test_caller_whom_no_route_admits_is_refused(node: Node) -> None:
    pipeline = node.use(upstream("u"), service("v"), policy("keys"), route("a", "v", ["keys"], models=["a"]), ANN)
    with pytest.raises(UnauthenticatedError):
        await pipeline.models(context())


async def test_without_routes_there_are_no_models_and_no_refusal(node: Node) -> None:
    assert await models(node.use()) == []


# Shares and changes.


def two_backends(first: int, second: int) -> list[ReceivedResource]:
    backends = [{"service": "v", "weight": first}, {"service": "w", "weight": second}]
    return [upstream("u", "127.0.0.1:1"), service("v"), service("w"), resource("route", "r", backends=backends)]


async def chosen(pipeline: Pipeline, times: int) -> Counter[str]:
    choice = (await pipeline.route(context())).choice
    chosen = (choice.choose(lambda _: True) for _ in range(times))
    return Counter(backend.service for backend in chosen if backend is not None)


async def test_shares_are_exact_over_a_change_that_leaves_them(node: Node) -> None:
    found = await chosen(node.use(*two_backends(3, 1)), 2)
    found += await chosen(node.use(*two_backends(3, 1), route("other", models=["x"])), 2)
    assert found == {"v": 3, "w": 1}


async def test_changed_shares_count_at_once(node: Node) -> None:
    await chosen(node.use(*two_backends(3, 1)), 3)
    assert await chosen(node.use(*two_backends(1, 3)), 4) == {"v": 1, "w": 3}
    assert await chosen(node.use(*two_backends(0, 3)), 4) == {"w": 4}


async def test_shares_of_a_route_that_is_gone_are_forgotten(node: Node) -> None:
    assert await chosen(node.use(*two_backends(3, 1)), 2) == {"v": 2}
    node.use()
    assert await chosen(node.use(*two_backends(3, 1)), 2) == {"v": 2}


async def test_pinned_configuration_works_on_after_a_change(node: Node, faulty_upstream: FaultyUpstream) -> None:
    before = node.use(upstream("u", faulty_upstream.address), service("v"), route("r"))
    node.use(upstream("u", faulty_upstream.address), service("w"), route("s", "w"))
    exchange = await ask(before, context())
    assert isinstance(exchange.answer, UnaryAnswer)


@pytest.mark.parametrize(
    ("changed", "is_kept"),
    [
        (route("other", models=["y"]), True),
        (upstream("u", "127.0.0.1:2"), True),
        (route("r", policies=["keys"], models=["m", "n"]), False),
        (resource("service", "v", upstream_service={"upstream": "u"}, timeouts={"request": "1s"}), False),
        (policy("keys", optional=True), False),
        (resource("consumer", "ann"), False),
    ],
)
async def test_plan_is_kept_while_all_that_it_is_made_of_stays(
    node: Node, changed: ReceivedResource, is_kept: bool
) -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"), policy("keys"), ANN, route("other", models=["x"]))
    put(table, route("r", policies=["keys"], models=["m"]))

    def use(before: Pipeline | None) -> Pipeline:
        snapshot = table.snapshot()
        node.live.reconcile(snapshot)
        return Pipeline(snapshot, node.live, before)

    first = use(None)
    plan = first.find_route(context())
    put(table, changed)
    second = use(first)
    assert (second.find_route(context()) is plan) == is_kept
    assert first.find_route(context("x")) is not None
    assert first.find_route(context("y")) is None


async def test_pool_that_went_away_under_a_pinned_configuration_is_told_as_such(node: Node) -> None:
    before = node.use(upstream("u"), service("v"), route("r"))
    node.use()
    with pytest.raises(UnavailableError, match="the configuration has just changed") as caught:
        await ask(before, context())
    assert (caught.value.reason, caught.value.retry_after_s) == ("NO_ENDPOINT", 0.0)
