"""The admin listener: what operators and their tools read there."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.conformance.calls import Caller, Kind, Question, Wire, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, first_then, one_pool, with_keys
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.gateway_process import Addresses, GatewayProcess
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.grpc_tools import NOT_SERVING, HealthClient
from tests.conformance.http_caller import HttpCaller
from tests.conformance.polling import eventually
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripts import fail


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_node_in_service_is_alive_and_ready(gateway: Gateway, path: str) -> None:
    assert await gateway.get(path) == (200, "ok\n")


async def test_inference_is_not_served_there(gateway: Gateway) -> None:
    assert (await gateway.get("/v1/models"))[0] == 404
    assert (await gateway.get("/drain"))[0] == 405


async def test_admin_is_not_served_where_clients_call(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    for path in ("/readyz", "/metrics", "/config_dump", "/endpoints", "/drain"):
        async with session.get(f"http://{gateway.addresses.http}{path}") as response:
            assert response.status == 404


async def test_endpoints_tell_their_state(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(caller))
    (endpoint,) = await gateway.endpoints()
    assert datetime.fromisoformat(endpoint.pop("since")).tzinfo is not None
    assert 0 < endpoint.pop("latency_ms") < 10_000
    assert endpoint == {
        "upstream": "pool",
        "address": upstream.address,
        "healthy": True,
        "reason": "no health checks configured",
        "active_requests": 0,
        "state": "ACTIVE",
        "priority": 0,
        "ejections": 0,
        "ejected_until": None,
    }


async def test_unhealthy_endpoint_says_why_gets_nothing_and_comes_back(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    sick, well = await upstreams(2)
    sick.health_status = 500
    check = {"http": {"path": "/health"}, "interval": "20ms", "unhealthy_interval": "20ms", "timeout": "1s"}
    pool = one_pool(sick.address, well.address, upstream={"health_checks": [check]})
    await gateway.apply(pool)

    async def reasons() -> Mapping[str, tuple[bool, str]]:
        return {each["address"]: (each["healthy"], each["reason"]) for each in await gateway.endpoints()}

    async def is_found_sick() -> bool:
        return await reasons() == {
            sick.address: (False, "GET /health: status 500"),
            well.address: (True, "GET /health passed"),
        }

    await eventually(is_found_sick, "the checks have told both apart")
    for _ in range(4):
        assert_answered(await ask(caller))
    assert (len(sick.requests), len(well.requests)) == (0, 4)
    labels = {"upstream": "pool", "endpoint": sick.address}
    assert await gateway.metric("janua_endpoint_healthy", labels) == 0

    sick.health_status = 200

    async def is_well_again() -> bool:
        return (await reasons())[sick.address] == (True, "GET /health passed")

    await eventually(is_well_again, "the endpoint is back")
    for _ in range(4):
        assert_answered(await ask(caller))
    assert len(sick.requests) == 2


async def test_configuration_is_shown_without_what_would_identify_a_caller(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    key = api_key("sk-alice")
    await gateway.apply(with_keys(one_pool(upstream.address), key))
    dump = await gateway.config_dump()
    assert {"node", "epoch", "revision", "config_server", "rejected"} < dump.keys()
    assert [route["name"] for route in dump["routes"]] == ["chat"]
    assert dump["upstreams"][0]["endpoints"] == [{"address": upstream.address}]
    assert dump["rejected"] == []
    alice = next(consumer for consumer in dump["consumers"] if consumer["name"] == "alice")
    assert key["key_sha256"].startswith(alice["api_keys"][0]["key_sha256"].rstrip("…"))
    assert key["key_sha256"] not in str(dump)


async def test_metrics_count_requests_attempts_and_tokens(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    policy = {"retry_back_off": {"base_interval": "1ms"}}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))
    status = "200" if caller.wire is Wire.HTTP else "OK"
    samples = [
        ("janua_requests_total", {"route": "chat", "service": "llm", "status": status}, 1.0),
        ("janua_request_duration_seconds_count", {"route": "chat"}, 1.0),
        ("janua_overhead_seconds_count", {"route": "chat"}, 1.0),
        ("gen_ai_server_time_to_first_token_seconds_count", {"route": "chat"}, float(streamed)),
        ("janua_upstream_attempts_total", {"upstream": "pool", "result": "gateway_error"}, 1.0),
        ("janua_upstream_attempts_total", {"upstream": "pool", "result": "ok"}, 1.0),
        ("janua_tokens_total", {"service": "llm", "kind": "input"}, 1.0),
        ("janua_tokens_total", {"service": "llm", "kind": "output"}, 2.0),
    ]
    before = [await gateway.metric(name, labels) for name, labels, _ in samples]

    assert_answered(await ask(caller, streamed=streamed))
    await gateway.wait_until_idle()

    after = [await gateway.metric(name, labels) for name, labels, _ in samples]
    grown = [(name, labels, now - then) for (name, labels, _), then, now in zip(samples, before, after, strict=True)]
    assert grown == samples


async def test_metrics_count_failures_by_their_status(gateway: Gateway, caller: Caller) -> None:
    await gateway.apply(one_pool("127.0.0.1:9", route={"match": {"models": ["other"]}}))
    labels = {"status": Kind.NOT_FOUND.on(caller.wire)}
    before = await gateway.metric("janua_requests_total", labels)
    assert_refused(await ask(caller), Kind.NOT_FOUND, "MODEL_NOT_FOUND")
    assert await gateway.metric("janua_requests_total", labels) == before + 1


async def test_metrics_tell_of_the_configuration(gateway: Gateway) -> None:
    assert await gateway.metric("janua_config_rejected_resources") == 0
    assert await gateway.metric("janua_xds_connected") == 0


async def test_requests_stand_in_the_access_log(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    answer = await ask(caller, Question(model="m"), streamed=streamed)
    entry = await gateway.access_log_entry(answer.headers["x-request-id"])
    assert entry["status"] == ("200" if caller.wire is Wire.HTTP else "OK")
    told = {key: entry[key] for key in ("protocol", "model", "route", "service", "endpoint", "attempts", "client")}
    assert told == {
        "protocol": caller.wire.value,
        "model": "m",
        "route": "chat",
        "service": "llm",
        "endpoint": upstream.address,
        "attempts": 1,
        "client": "127.0.0.1",
    }
    assert (entry["input_tokens"], entry["output_tokens"]) == (1, 2)
    assert entry.get("stream", False) is streamed


@pytest.fixture
async def waiting_node(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    """A node whose config server is not there. Without a ready line it does not say where it listens, so that it is
    told which ports to take."""
    http, grpc_, admin, absent = _free_addresses(4)
    process = GatewayProcess(tmp_path)
    process.launch(f"--config-server={absent}", f"--http={http}", f"--grpc={grpc_}", f"--admin={admin}")
    process.addresses = Addresses(http=http, grpc=grpc_, admin=admin)
    gateway = Gateway(process, session)

    async def is_alive() -> bool:
        try:
            return (await gateway.get("/livez"))[0] == 200
        except aiohttp.ClientConnectorError:
            return False

    try:
        await eventually(is_alive, "the node is alive", within_s=20)
        yield gateway
    finally:
        process.stop()


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


async def test_node_without_a_configuration_is_alive_but_not_ready(
    waiting_node: Gateway, session: aiohttp.ClientSession
) -> None:
    addresses = waiting_node.addresses
    assert await waiting_node.get("/readyz") == (503, "waiting for the first configuration\n")
    assert await waiting_node.endpoints() == []
    async with grpc.aio.insecure_channel(addresses.grpc) as channel:
        assert await HealthClient(channel).check() == NOT_SERVING
        for caller in (HttpCaller(addresses.http, session), GrpcCaller(channel)):
            failure = assert_refused(await ask(caller), Kind.UNAVAILABLE, "NOT_READY")
            assert failure.retry_after_s == 1.0


async def test_node_without_a_configuration_can_be_stopped(waiting_node: Gateway) -> None:
    waiting_node.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(waiting_node.process.wait) == 0
