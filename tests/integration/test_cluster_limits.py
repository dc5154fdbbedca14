"""Limits and budgets over several nodes and one real store, and what becomes of them when something dies."""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from janua_client.config_client import ConfigClient
from janua_client.processes import Child

from tests.integration.configuration import KEY, admin, changes, pool
from tests.integration.limit_load import BODY, flood, most_in_a_window, post
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import LAST_CHUNK, chunked_response, sse
from tests.support.polling import eventually
from tests.support.processes import START_S, ConfigServer, Node, NodeFactory
from tests.support.redis_server import RedisServer
from tests.support.scripts import Exchange, chat, chat_events, fail

pytestmark = pytest.mark.component("redis")


def configured(path: Path, upstream: FaultyUpstream, *policies: Mapping[str, Any]) -> Path:
    """A file with one model under these policies."""
    config = pool([upstream.address])
    config["policies"] += [dict(policy) for policy in policies]
    config["routes"][0]["policies"] += [policy["name"] for policy in policies]
    path.write_text(json.dumps(config), "utf-8")
    return path


def limit(most: int, unit: str = "REQUESTS", window: str | None = "60s", **fields: Any) -> dict[str, Any]:
    one = {"unit": unit, "limit": most, **({"window": window} if window else {})}
    return {"name": "rule", "rate_limit": {"limits": [one], "scope": "CLUSTER", **fields}}


async def two_nodes(node: NodeFactory, redis: RedisServer, file: Path) -> tuple[Node, Node]:
    first, second = [await node(None, "--shared-store", redis.url, config_file=file) for _ in range(2)]
    return first, second


@pytest.mark.timeout(120)
async def test_no_window_over_four_nodes_has_more_than_the_limit_and_99_per_cent_of_it_is_admitted(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Field failure: the limit is limit times replicas."""
    window_s, most, windows = 4, 120, 2
    file = configured(tmp_path / "c.json", faulty_upstream, limit(most, window=f"{window_s}s"))
    nodes = [
        await node(None, "--shared-store", redis_server.url, "--access-log", "off", config_file=file) for _ in range(4)
    ]
    admitted = await flood(nodes, seconds=window_s * windows, clients=16, pause_s=0.1)
    assert most_in_a_window(admitted, window_s) <= most
    assert len(admitted) >= 0.99 * most * windows


async def test_tokens_are_settled_and_given_back_over_all_nodes(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    first, second = await two_nodes(
        node, redis_server, configured(tmp_path / "c.json", faulty_upstream, limit(1000, "OUTPUT_TOKENS"))
    )
    async with aiohttp.ClientSession() as session:
        reply = await post(session, first, max_tokens=900)
        assert (reply.status, reply.headers["x-ratelimit-remaining-tokens"]) == (200, "100")

        async def left() -> str:
            return (await post(session, second, max_tokens=1)).headers["x-ratelimit-remaining-tokens"]

        # Two tokens were used, and those that each look sets aside or uses.
        async def is_settled() -> bool:
            return int(await left()) > 900

        await eventually(is_settled)


STREAMS, ASKED, BEYOND = 50, 20, 10


@pytest.mark.timeout(120)
async def test_fifty_streams_over_two_nodes_go_over_by_what_they_use_beyond_their_estimates(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Field failure: the limit is charged after the fact, so that a burst passes."""
    most = STREAMS * ASKED
    nodes = await two_nodes(
        node, redis_server, configured(tmp_path / "c.json", faulty_upstream, limit(most, "OUTPUT_TOKENS", "3600s"))
    )
    end = asyncio.Event()
    usage = {"prompt_tokens": 1, "completion_tokens": ASKED + BEYOND, "total_tokens": 1 + ASKED + BEYOND}
    role, word, stop = chat_events("hello", model="echo")

    async def script(exchange: Exchange) -> None:
        await exchange.send(chunked_response(sse(role, word, done=False)).removesuffix(LAST_CHUNK))
        await end.wait()
        last = chunked_response(sse(stop, {**stop, "choices": [], "usage": usage}))
        await exchange.send(last.partition(b"\r\n\r\n")[2])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def running(cancelled: int) -> list["asyncio.Task[aiohttp.ClientResponse]"]:
            asked = [post(session, nodes[each % 2], max_tokens=ASKED, stream=True) for each in range(STREAMS)]
            tasks = [asyncio.create_task(each) for each in asked]
            await faulty_upstream.wait_for_requests(cancelled + STREAMS)
            return tasks

        async def left() -> int:
            reply = await post(session, nodes[0], max_tokens=most)
            return int(reply.headers["x-ratelimit-remaining-tokens"]) if reply.status == 429 else most

        async def is_free() -> bool:
            return await left() == most

        faulty_upstream.script = script
        for task in await running(0):
            task.cancel()
        faulty_upstream.script = fail(400)
        await eventually(is_free)

        faulty_upstream.script = script
        streams = await running(len(faulty_upstream.requests))
        refused = [await post(session, each, max_tokens=1) for each in nodes]
        assert [each.status for each in refused] == [429] * 2
        end.set()
        assert [each.status for each in await asyncio.gather(*streams)] == [200] * STREAMS

        async def is_over() -> bool:
            """All that was used is counted: less than nothing would be left."""
            used = [await post(session, each, max_tokens=1) for each in nodes]
            return {each.status for each in used} == {429} and await _total(redis_server) == STREAMS * (ASKED + BEYOND)

        await eventually(is_over)


async def _total(redis_server: RedisServer) -> int:
    """What is counted in the only window that there is."""
    import redis.asyncio

    async with redis.asyncio.from_url(redis_server.url) as client:
        keys = [key async for key in client.scan_iter(b"janua:limit:*")]
        (key,) = (key for key in keys if key != b"janua:limit:clock")
        total = await client.hget(key, "total")
    assert total is not None
    return int(total)


async def test_places_are_counted_over_all_nodes_and_given_back_when_callers_leave(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream, limit(2, "CONCURRENCY", None))
    first, second = await two_nodes(node, redis_server, file)
    answered = chat()

    async def never(_: Exchange) -> None:
        await asyncio.Event().wait()

    faulty_upstream.script = never
    async with aiohttp.ClientSession() as session:
        held = [asyncio.create_task(post(session, each)) for each in (first, second)]
        await faulty_upstream.wait_for_requests(2)
        assert (await post(session, second)).status == 429
        faulty_upstream.script = answered
        for task in held:
            task.cancel()

        async def is_free() -> bool:
            return (await post(session, first)).status == 200

        await eventually(is_free)


async def test_requests_pass_or_are_refused_without_the_store_as_configured(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    allowing = configured(tmp_path / "allow.json", faulty_upstream, limit(2))
    denying = configured(tmp_path / "deny.json", faulty_upstream, limit(2, on_store_failure="DENY"))
    allow = await node(None, "--shared-store", redis_server.url, config_file=allowing)
    deny = await node(None, "--shared-store", redis_server.url, config_file=denying)
    async with aiohttp.ClientSession() as session:
        assert (await post(session, allow)).status == 200
        redis_server.stop()
        assert [(await post(session, allow)).status for _ in range(4)] == [200] * 4
        refused = await post(session, deny)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        async with session.get(f"http://{deny.admin}/metrics") as reply:
            metrics = await reply.text()
        assert 'janua_ratelimit_total{policy="rule",result="denied"} 1.0' in metrics
        assert 'janua_shared_store_failures_total{operation="run"} 1.0' in metrics

        await redis_server.start()

        async def counts_again() -> bool:
            return (await post(session, deny)).status == 429

        await eventually(counts_again)
        assert allow.log.count("shared store does not answer") == 1
        assert allow.log.count("shared store is back") <= 1


async def test_a_budget_is_shared_and_outlives_the_nodes(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream, {"name": "day", "budget": {"tokens": 6, "period": "DAY"}})
    first, second = await two_nodes(node, redis_server, file)
    async with aiohttp.ClientSession() as session:
        assert (await post(session, first)).status == 200  # three tokens
        await first.stop()
        await first.restart()

        async def is_used_up() -> bool:
            return (await post(session, second)).status == 429

        await eventually(is_used_up)
        refused = await post(session, first)
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= 86_400


async def test_a_node_without_a_store_refuses_the_policy(
    node: NodeFactory, faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream)
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "policies": [limit(5)], "routes": []}), "utf-8")
    with pytest.raises(Exception, match="SHARED_STORE_MISSING"):
        await node(None, config_file=file)


async def test_a_config_server_hears_that_a_node_has_no_store(
    node: NodeFactory, config_server: ConfigServer, faulty_upstream: FaultyUpstream
) -> None:
    gateway = await node(config_server)
    config = pool([faulty_upstream.address])
    one = {"unit": "UNIT_REQUESTS", "limit": 5, "window": "60s"}
    config["policies"].append({"name": "rule", "rate_limit": {"limits": [one], "scope": "SCOPE_CLUSTER"}})
    async with ConfigClient(config_server.address) as client:
        await client.apply(changes(config))
    async with aiohttp.ClientSession() as session:

        async def is_refused() -> bool:
            dump = await admin(session, gateway, "/config_dump")
            return [each["reason"] for each in dump["rejected"]] == ["SHARED_STORE_MISSING"]

        await eventually(is_refused)


async def test_a_budget_of_one_node_outlives_it(
    node: NodeFactory, faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    """Field failure: a budget is not saved over a restart."""
    file = configured(tmp_path / "c.json", faulty_upstream, {"name": "day", "budget": {"tokens": 3}})
    gateway = await node(None, config_file=file)
    async with aiohttp.ClientSession() as session:
        assert (await post(session, gateway)).status == 200
        await gateway.stop()
        await gateway.restart()
        assert (await post(session, gateway)).status == 429
        await eventually(lambda: _is_written(gateway))
        await gateway.kill()
        await gateway.restart()
        assert (await post(session, gateway)).status == 429


async def _is_written(node: Node) -> bool:
    return (node.state_dir / "budgets.json").exists()


async def test_janua_up_hands_the_store_to_its_node_but_not_on_the_command_line(
    running: AsyncExitStack, redis_server: RedisServer, faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream, limit(1))
    ports = [argument for flag in ("--listen", "--http", "--grpc", "--admin") for argument in (flag, "127.0.0.1:0")]
    command = [str(Path(sys.executable).parent / "janua"), "up", "-f", str(file), "--data-dir", str(tmp_path / "data")]
    child = await Child.start("up", [*command, *ports, "--shared-store", redis_server.url])
    running.push_async_callback(child.stop, START_S)
    ready = await child.ready(START_S)
    url, headers = f"http://{ready['http']}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(2):
            async with session.post(url, json=BODY, headers=headers) as reply:
                statuses.append(reply.status)
    assert statuses == [200, 429]
    lines = await asyncio.to_thread(_command_lines, child.pid)
    assert any("gateway" in line for line in lines)
    assert not any(redis_server.url in line for line in lines)


def _command_lines(parent: int) -> list[str]:
    """Those of a process's children, as everybody on the machine can read them."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    return [Path(f"/proc/{pid}/cmdline").read_text("utf-8") for pid in children]
