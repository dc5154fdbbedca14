"""A configuration file that is read again while requests run: no request notices, unless the change is about it."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import EMPTY, Configuration, api_key, one_pool, proxy_service, with_keys
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.polling import eventually
from tests.conformance.upstream_scripts import hello_until
from tests.support.faulty_upstream import FaultyUpstream

RELOADS = 100


def variants(first: str, second: str) -> list[Configuration]:
    """Configurations that all serve the model `m` and differ in everything else."""
    key = api_key("sk-load")
    return [
        one_pool(first, second),
        one_pool(second, upstream={"connection_pool": {"idle_timeout": "5s"}}),
        one_pool(first, second, upstream={"load_balancing": {"policy": "LEAST_REQUEST"}}),
        one_pool(first, route={"name": "other", "timeouts": {"request": "30s"}}),
        with_keys(one_pool(second, first, service={"models": [{"name": "m", "upstream_name": "n"}]}), key),
        {
            "upstreams": [{"name": "new", "endpoints": [{"address": second}]}],
            "services": [{"name": "new", "upstream_service": {"upstream": "new", "schema": "OPENAI"}}],
            "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "new"}]}],
        },
    ]


async def test_no_request_fails_while_the_file_is_reloaded(
    gateway: Gateway, upstreams: Upstreams, http: Caller, grpc_caller: Caller
) -> None:
    first, second = await upstreams(2)
    configurations = variants(first.address, second.address)
    await gateway.apply(configurations[0])
    is_done = False
    question = Question(headers={"authorization": "Bearer sk-load"})

    async def load(caller: Caller, *, streamed: bool) -> int:
        count = 0
        while not is_done:
            answer = await ask(caller, question, streamed=streamed)
            assert_answered(answer)
            assert answer.models == {"m"}
            count += 1
        return count

    async with asyncio.TaskGroup() as clients:
        loads = [
            clients.create_task(load(caller, streamed=streamed))
            for caller in (http, grpc_caller)
            for streamed in (False, True)
            for _ in range(2)
        ]
        for number in range(RELOADS):
            await gateway.apply(configurations[number % len(configurations)])
        is_done = True

    assert all(task.result() > RELOADS / 10 for task in loads)


async def test_stream_outlives_its_route_and_its_upstream(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    may_end = asyncio.Event()
    upstream.script = hello_until(may_end)
    begun = asyncio.Event()
    asking = asyncio.create_task(ask(caller, streamed=True, on_piece=begun.set))
    await begun.wait()
    await gateway.apply(EMPTY)
    assert_refused(await ask(caller), Kind.NOT_FOUND, "MODEL_NOT_FOUND")
    may_end.set()
    assert_answered(await asking, "hello")


async def test_connections_of_an_unchanged_upstream_are_kept(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(caller))
    await gateway.apply(one_pool(upstream.address, route={"priority": 5}))
    assert_answered(await ask(caller))
    assert (len(upstream.requests), upstream.connections) == (2, 1)


async def test_revoked_key_is_refused_from_then_on(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    question = Question(headers={"authorization": "Bearer sk-one"})
    await gateway.apply(with_keys(one_pool(upstream.address), api_key("sk-one")))
    assert_answered(await ask(caller, question))
    await gateway.apply(with_keys(one_pool(upstream.address), api_key("sk-two")))
    assert_refused(await ask(caller, question), Kind.UNAUTHENTICATED, "INVALID_API_KEY")


async def test_file_with_faults_changes_nothing_and_the_log_has_the_place(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    process = gateway.process
    process.config_file.write_text("routes:\n- name: chat\n  backends: [{service: gone}]\n", "utf-8")
    process.send_signal(signal.SIGHUP)

    async def is_logged() -> bool:
        return f"{process.config_file}:3:" in process.log

    await eventually(is_logged, "the fault is logged with its line")
    assert_answered(await ask(caller))
    assert (await gateway.get("/readyz"))[0] == 200
    await gateway.apply(one_pool(upstream.address, route={"match": {"models": ["m"]}}))
    assert_answered(await ask(caller))


def with_secret(upstream: FaultyUpstream, file: Path, **secret: Any) -> Configuration:
    """A provider whose credential stands in a file."""
    return {
        "secrets": [{"name": "provider-key", "file": str(file), **secret}],
        "services": [proxy_service("provider", upstream.url, secret="provider-key")],
        "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "provider"}]}],
    }


async def test_credential_is_sent_to_the_provider_and_read_again_on_reload(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-old\n")
    configuration = with_secret(upstream, file)
    await gateway.apply(configuration)
    assert_answered(await ask(caller, Question(headers={"authorization": "Bearer of-the-caller"})))

    file.write_text("sk-new\n")
    await gateway.apply(configuration)
    assert_answered(await ask(caller))

    assert [request.header("authorization") for request in upstream.requests] == ["Bearer sk-old", "Bearer sk-new"]


async def test_credential_that_vanishes_is_kept_until_it_is_back(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("sk-old")
    await gateway.apply(with_secret(upstream, file))
    file.unlink()
    gateway.process.send_signal(signal.SIGHUP)

    async def is_logged() -> bool:
        return f"file {file}: no such file" in gateway.process.log

    await eventually(is_logged, "the missing file is logged")
    assert_answered(await ask(caller))
    assert upstream.requests[0].header("authorization") == "Bearer sk-old"
