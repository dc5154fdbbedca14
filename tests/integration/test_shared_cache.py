"""One cache over several nodes and one real store: what one node was answered, the others give again."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.configuration import pool
from tests.integration.limit_load import post
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.polling import eventually
from tests.support.processes import Node, NodeFactory
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.component("redis")


def configured(path: Path, upstream: FaultyUpstream, **cache: Any) -> Path:
    config = pool([upstream.address])
    # A set of several, whose order in memory is another in each process.
    config["routes"][0]["fallback_on"] = ["UNAVAILABLE", "RATE_LIMITED", "OVERLOADED", "TIMEOUT"]
    config["policies"].append({"name": "kept", "cache": {"ttl": "300s", "store": "SHARED", **cache}})
    config["routes"][0]["policies"].append("kept")
    path.write_text(json.dumps(config), "utf-8")
    return path


async def three_nodes(node: NodeFactory, redis: RedisServer, file: Path) -> list[Node]:
    return [await node(None, "--shared-store", redis.url, config_file=file) for _ in range(3)]


def asked(upstream: FaultyUpstream) -> int:
    return sum(request.target.endswith("/chat/completions") for request in upstream.requests)


async def test_answer_of_one_node_is_given_by_all_also_after_a_restart(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    nodes = await three_nodes(node, redis_server, configured(tmp_path / "c.json", faulty_upstream))
    async with aiohttp.ClientSession() as session:
        first = await post(session, nodes[0])
        assert (first.status, first.headers["x-janua-cache"]) == (200, "miss")

        async def is_hit() -> bool:
            return (await post(session, nodes[1])).headers["x-janua-cache"] == "hit"

        await eventually(is_hit)
        await nodes[2].stop()
        await nodes[2].restart()
        again = await post(session, nodes[2])
        assert again.headers["x-janua-cache"] == "hit"
        assert await again.json() == await first.json()
        assert asked(faulty_upstream) <= 2

        async with session.post(f"http://{nodes[2].admin}/cache/purge?route=chat&consumer=alice") as reply:
            assert (reply.status, await reply.json()) == (200, {"purged": 1})
        assert (await post(session, nodes[0])).headers["x-janua-cache"] == "miss"
        async with session.post(f"http://{nodes[2].admin}/cache/purge?rout=chat") as reply:
            assert reply.status == 400


async def test_requests_go_past_a_store_that_is_down_and_share_calls_all_the_same(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Field failure: what is there to help takes the service down with it."""
    (gateway, *_) = await three_nodes(node, redis_server, configured(tmp_path / "c.json", faulty_upstream))
    redis_server.stop()
    async with aiohttp.ClientSession() as session:
        told = [await post(session, gateway) for _ in range(3)]
        assert [(each.status, each.headers["x-janua-cache"]) for each in told] == [(200, "bypass")] * 3
        before = asked(faulty_upstream)
        shared = await asyncio.gather(*(post(session, gateway, max_tokens=7) for _ in range(20)))
        assert {each.status for each in shared} == {200}
        assert asked(faulty_upstream) - before < 20
        async with session.get(f"http://{gateway.admin}/metrics") as reply:
            metrics = await reply.text()
        assert 'janua_cache_total{result="bypass"}' in metrics
        assert 'janua_shared_store_failures_total{operation="get"}' in metrics
        async with session.post(f"http://{gateway.admin}/cache/purge") as reply:
            assert reply.status == 503

        await redis_server.start()

        async def is_kept_again() -> bool:
            return (await post(session, gateway)).headers["x-janua-cache"] == "hit"

        await eventually(is_kept_again)


async def test_a_node_without_a_store_refuses_the_policy(
    node: NodeFactory, faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream)
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "routes": []}), "utf-8")
    with pytest.raises(Exception, match="SHARED_STORE_MISSING"):
        await node(None, config_file=file)
