"""Several workers behind one pair of ports: they share the traffic, die and come back, and end with their parent."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from janua.config.v1.config_service_pb2 import ListNodesRequest
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from janua.inference.v1.models_pb2 import ListModelsRequest
from janua_client.processes import Child
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.configuration import KEY, admin, apply, ask, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory

WORKERS = 2


@pytest.fixture
async def parent(config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory) -> Node:
    models = await echo_models(1, "--word-delay", "0.005")
    await apply(config_server, pool([model.address for model in models]))
    return await node(config_server, "--workers", str(WORKERS))


async def ask_once(node: Node) -> str:
    """One answer on a connection of its own, so that any worker may take it."""
    async with aiohttp.ClientSession() as session:
        return await ask(session, node, "one two")


async def text(node: Node, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{node.admin}{path}") as response:
        return response.status, await response.text()


async def requests_by_worker(node: Node) -> Counter[str]:
    _, page = await text(node, "/metrics")
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "janua_requests_total":
                found[sample.labels["worker"]] += int(sample.value)
    return found


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def is_alive(pid: int) -> bool:
    """A zombie is not, once its threads are gone too: the last of them closes the sockets."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list((process / "task").iterdir())) > 1
    except FileNotFoundError:
        return False


async def has_begun(session: aiohttp.ClientSession, node: Node) -> bool:
    return any(endpoint["active_requests"] for endpoint in (await admin(session, node, "/endpoints"))["endpoints"])


def none_alive(pids: list[int]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not any(is_alive(pid) for pid in pids)

    return check


async def test_all_workers_take_requests_and_the_parent_answers_for_them(parent: Node) -> None:
    assert parent.ready["workers"] == WORKERS

    async def until_all_have_answered() -> bool:
        await ask_once(parent)
        return len(await requests_by_worker(parent)) == WORKERS

    await eventually(until_all_have_answered)
    async with aiohttp.ClientSession() as session:
        endpoints = (await admin(session, parent, "/endpoints"))["endpoints"]
        dumps = (await admin(session, parent, "/config_dump"))["workers"]
    assert {endpoint["worker"] for endpoint in endpoints} == set(range(WORKERS))
    assert [dump["node"]["id"] for dump in dumps] == ["node-1-0", "node-1-1"]
    assert await text(parent, "/readyz") == (200, "worker 0: ok\nworker 1: ok\n")
    assert await text(parent, "/livez") == (200, "ok\n")


async def test_workers_on_granian_share_the_port_and_drain(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    models = await echo_models(1, "--word-delay", "0.005")
    await apply(config_server, pool([model.address for model in models]))
    parent = await node(config_server, "--server", "granian", "--workers", str(WORKERS))

    async def until_all_have_answered() -> bool:
        await ask_once(parent)
        return len(await requests_by_worker(parent)) == WORKERS

    await eventually(until_all_have_answered)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{parent.http}/none") as refused:
            assert refused.headers["server"] == "granian"
        stream = asyncio.create_task(ask(session, parent, "word " * 200))
        await eventually(partial(has_begun, session, parent))
        stopped = asyncio.create_task(parent.stop())
        assert (await stream).count("word") == 200
    assert await stopped == 0


async def test_all_workers_take_grpc_calls(parent: Node) -> None:
    async def until_all_have_answered() -> bool:
        # A pool of its own, or all channels would share one connection.
        credentials = (("authorization", f"Bearer {KEY}"),)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(parent.grpc, options) as channel:
            models = await InferenceServiceStub(channel).ListModels(ListModelsRequest(), metadata=credentials)
        assert [model.id for model in models.models] == ["echo"]
        return len(await requests_by_worker(parent)) == WORKERS

    await eventually(until_all_have_answered)


async def test_a_worker_that_is_killed_comes_back_and_the_others_go_on(parent: Node) -> None:
    victim, other = children_of(parent.pid)
    os.kill(victim, signal.SIGKILL)
    await eventually(none_alive([victim]))
    # Connections that the dead one had not taken are lost with it; new ones come to those that listen.
    assert await ask_once(parent)

    async def is_whole() -> bool:
        return await text(parent, "/readyz") == (200, "worker 0: ok\nworker 1: ok\n")

    await eventually(is_whole)
    assert other in children_of(parent.pid)
    assert victim not in children_of(parent.pid)
    assert "a worker died and is started again" in parent.log


async def test_the_parent_drains_all_and_ends_well(parent: Node) -> None:
    workers = children_of(parent.pid)
    async with aiohttp.ClientSession() as session:
        stream = asyncio.create_task(ask(session, parent, "word " * 200))
        await eventually(partial(has_begun, session, parent))
        stopped = asyncio.create_task(parent.stop())
        assert (await stream).count("word") == 200
    assert await stopped == 0
    assert not any(is_alive(pid) for pid in workers)


async def test_workers_do_not_outlive_a_parent_that_is_killed(parent: Node) -> None:
    workers = children_of(parent.pid)
    await parent.kill()
    await eventually(none_alive(workers))


async def test_draining_is_asked_of_all(parent: Node) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"http://{parent.admin}/drain") as response:
        assert await response.json() == {"draining": True, "active_requests": 0}
    assert await text(parent, "/readyz") == (503, "worker 0: draining\nworker 1: draining\n")


async def test_each_worker_is_a_node_of_its_own_to_the_config_server(parent: Node, config_server: ConfigServer) -> None:
    del parent
    async with grpc.aio.insecure_channel(config_server.address) as channel:
        nodes = (await ConfigServiceStub(channel).ListNodes(ListNodesRequest())).nodes
    assert [(node.id, node.connected) for node in nodes] == [("node-1-0", True), ("node-1-1", True)]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--shared-store", "nonsense"), "ended before it was ready (exit code 1)"),
        (("--http", "{taken}"), "cannot listen on {taken}: address already in use"),
        (("--grpc", "{taken}"), "cannot listen on {taken}: address already in use"),
    ],
)
async def test_what_no_worker_can_begin_with_ends_the_parent(
    config_server: ConfigServer, tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    taken = config_server.address
    command = [sys.executable, "-m", "gateway", "--workers", "2", "--config-server", taken]
    for option in ("--http", "--grpc", "--admin"):
        command += [option, "127.0.0.1:0"]
    command += ["--state-dir", str(tmp_path / "state"), *(each.format(taken=taken) for each in arguments)]
    child = await Child.start("gateway", command)
    assert await child.wait() == 1
    await child.stop()
    assert reason.format(taken=taken) in "\n".join(child.log_tail(50))
