"""`janua cache purge` where nodes cannot be asked, or refuse."""

import json
import socket
from typing import Any

import grpc
from janua.config.v1.config_service_pb2 import ListNodesRequest, ListNodesResponse, Node, NodeAddresses, NodeStatus

from tests.clients.janua_client.cli_runner import janua
from tests.clients.janua_client.scripted_server import serving
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response
from tests.support.scripts import answer

Context = grpc.aio.ServicerContext[Any, Any]


def node(name: str, admin: str = "", *, connected: bool = True) -> Node:
    return Node(id=name, connected=connected, status=NodeStatus(addresses=NodeAddresses(admin=admin)))


async def test_each_node_that_has_not_forgotten_is_told() -> None:
    good, refusing, odd = [FaultyUpstream() for _ in range(3)]
    good.script = answer(json_response(200, {"purged": 3}))
    refusing.script = answer(json_response(503, {"error": "not purged in the shared store: it is down"}))
    odd.script = answer(response(200, b"<html>"))
    for each in (good, refusing, odd):
        await each.start()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{unused.getsockname()[1]}"

        async def list_nodes(_: ListNodesRequest, __: Context) -> ListNodesResponse:
            nodes = [node("good", good.address), node("refusing", refusing.address), node("odd", odd.address)]
            return ListNodesResponse(
                nodes=[*nodes, node("gone", gone), node("new"), node("off", "10.0.0.1:1", connected=False)]
            )

        async with serving(ListNodes=list_nodes) as address:
            done = await janua("cache", "purge", "--route", "faq", "-o", "json", "--server", address)
    for each in (good, refusing, odd):
        await each.stop()
    assert done.code == 1
    told = {each["id"]: each["purged"] for each in json.loads(done.out)["nodes"]}
    assert told == {"good": 3, "refusing": None, "odd": None, "gone": None, "new": None}
    assert "refusing: not purged in the shared store: it is down" in done.err
    assert f"gone: cannot be reached at {gone}" in done.err
    assert "new: it has not told where its admin listener is" in done.err
    assert "4 of 5 nodes have not forgotten" in done.errors[-1]
    assert [(request.method, request.target) for request in good.requests] == [("POST", "/cache/purge?route=faq")]
