"""`janua nodes` and `janua status`: what the nodes say, in a table and as data."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1.config_service_pb2 import (
    EndpointStatus,
    GetRolloutRequest,
    GetRolloutResponse,
    ListNodesRequest,
    ListNodesResponse,
    Node,
    NodeAddresses,
    NodeRollout,
    NodeStatus,
    NodeType,
    Rejection,
)
from janua_client.cli.ages import ago, rfc3339

from tests.clients.janua_client.cli_runner import janua
from tests.clients.janua_client.scripted_server import serving

Context = grpc.aio.ServicerContext[Any, Any]
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
MORNING = Timestamp(seconds=1_893_484_800)  # 2030-01-01T08:00:00Z

EDGE = Node(
    id="edge-1",
    cluster="edge",
    version="0.1.0",
    connected=True,
    connect_time=MORNING,
    last_seen_time=MORNING,
    types=[
        NodeType(
            type_url="type.googleapis.com/janua.config.v1.Route",
            rejections=[
                Rejection(
                    type_url="type.googleapis.com/janua.config.v1.Route",
                    name="chat",
                    reason="INVALID_FIELD",
                    field="match.path.regex",
                    message="no\nregex",
                )
            ],
        )
    ],
    status=NodeStatus(
        addresses=NodeAddresses(http="10.0.0.1:8080", grpc="10.0.0.1:8081", admin="10.0.0.1:9901"),
        active_requests=3,
        endpoints=[
            EndpointStatus(
                upstream="pool", address="b:1", healthy=False, reason="HTTP 503", since=MORNING, active_requests=1
            ),
            EndpointStatus(upstream="pool", address="a:1", healthy=True),
        ],
    ),
)
OTHERS = [
    Node(id="edge-2", connected=True, status=NodeStatus(draining=True)),
    Node(id="gone", status=NodeStatus(endpoints=[EndpointStatus(upstream="pool", address="old:1")])),
]


async def list_nodes(request: ListNodesRequest, context: Context) -> ListNodesResponse:
    return ListNodesResponse(revision=7, nodes=[EDGE, *OTHERS])


async def get_rollout(request: GetRolloutRequest, context: Context) -> GetRolloutResponse:
    nodes = [
        NodeRollout(node_id="edge-1", state=NodeRollout.STATE_ERROR, acked_revision=6, connected=True),
        NodeRollout(node_id="edge-2", state=NodeRollout.STATE_SYNCED, acked_revision=7, connected=True),
        NodeRollout(node_id="gone", state=NodeRollout.STATE_NOT_SENT, acked_revision=2),
    ]
    return GetRolloutResponse(revision=7, nodes=nodes)


async def run(command: str, *arguments: str) -> tuple[str, str]:
    async with serving(ListNodes=list_nodes, GetRollout=get_rollout) as address:
        done = await janua(command, *arguments, "--server", address)
    assert done.code == 0, done.err
    return done.out, done.err


def cells(line: str) -> list[str]:
    return line.split()


async def test_nodes_in_a_table() -> None:
    out, err = await run("nodes")
    header, edge, draining, gone = out.splitlines()
    assert cells(header)[:7] == ["NODE", "CLUSTER", "VERSION", "STATE", "CONFIG", "ACKED", "REFUSED"]
    assert cells(edge)[:7] == ["edge-1", "edge", "0.1.0", "ready", "error", "6", "1"]
    assert cells(draining) == ["edge-2", "-", "-", "draining", "synced", "7", "0", "-"]
    assert cells(gone)[3:6] == ["disconnected", "not", "sent"]
    assert err == "warning: edge-1 refuses route/chat: match.path.regex: no regex (INVALID_FIELD)\n"


async def test_nodes_as_data() -> None:
    out, _ = await run("nodes", "-o", "json")
    data = json.loads(out)
    assert data["revision"] == 7
    assert data["nodes"][0] == {
        "id": "edge-1",
        "cluster": "edge",
        "version": "0.1.0",
        "state": "ready",
        "config": "error",
        "acked_revision": 6,
        "rejections": [
            {
                "kind": "route",
                "name": "chat",
                "reason": "INVALID_FIELD",
                "field": "match.path.regex",
                "message": "no\nregex",
            }
        ],
        "connected_since": "2030-01-01T08:00:00Z",
        "last_seen": "2030-01-01T08:00:00Z",
        "addresses": {"http": "10.0.0.1:8080", "grpc": "10.0.0.1:8081", "admin": "10.0.0.1:9901"},
        "active_requests": 3,
    }
    assert [node["state"] for node in data["nodes"]] == ["ready", "draining", "disconnected"]


async def test_status_shows_endpoints_as_connected_nodes_see_them() -> None:
    out, _ = await run("status")
    revision, *_, header, well, ill = out.splitlines()
    assert revision == "revision 7"
    assert cells(header) == ["UPSTREAM", "ENDPOINT", "NODE", "HEALTH", "WHY", "SINCE", "REQUESTS"]
    assert cells(well) == ["pool", "a:1", "edge-1", "healthy", "-", "-", "0"]
    assert cells(ill)[:6] == ["pool", "b:1", "edge-1", "unhealthy", "HTTP", "503"]
    assert "old:1" not in out


async def test_status_as_data() -> None:
    out, _ = await run("status", "-o", "json")
    data = json.loads(out)
    assert [node["id"] for node in data["nodes"]] == ["edge-1", "edge-2", "gone"]
    assert data["endpoints"][1] == {
        "upstream": "pool",
        "address": "b:1",
        "node": "edge-1",
        "healthy": False,
        "reason": "HTTP 503",
        "since": "2030-01-01T08:00:00Z",
        "active_requests": 1,
    }


async def test_before_the_first_apply_and_the_first_node() -> None:
    async def no_nodes(request: ListNodesRequest, context: Context) -> ListNodesResponse:
        return ListNodesResponse()

    async def no_revision(request: GetRolloutRequest, context: Context) -> GetRolloutResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no revision yet")
        raise AssertionError("the call was aborted")

    async with serving(ListNodes=no_nodes, GetRollout=no_revision) as address:
        done = await janua("status", "--server", address)
        data = await janua("status", "--server", address, "-o", "yaml")
    assert (done.code, done.out) == (0, "revision 0\n\n\n")
    assert done.err == "no node has been seen yet\nno node has reported an endpoint\n"
    assert data.out == "revision: 0\nnodes: []\nendpoints: []\n"


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(days=2, hours=23), "2d ago"),
        (timedelta(hours=4), "4h ago"),
        (timedelta(minutes=90), "1h ago"),
        (timedelta(minutes=59, seconds=59), "59m ago"),
        (timedelta(seconds=1), "1s ago"),
        (timedelta(milliseconds=999), "now"),
        (timedelta(minutes=-5), "now"),  # another clock than ours
    ],
)
def test_how_long_ago(age: timedelta, expected: str) -> None:
    moment = Timestamp()
    moment.FromDatetime(NOW - age)
    assert ago(moment, NOW) == expected


def test_a_moment_that_is_not_set() -> None:
    assert ago(Timestamp(), NOW) == "-"
    assert rfc3339(Timestamp()) is None
    assert rfc3339(MORNING) == "2030-01-01T08:00:00Z"


@pytest.mark.parametrize("command", ["nodes", "status"])
async def test_a_server_that_is_not_there(command: str) -> None:
    done = await janua(command, "--server", "127.0.0.1:1")
    assert done.code == 1
    assert done.err == (
        f"janua {command}: cannot reach the config server at 127.0.0.1:1 (Connection refused): "
        "start one with `janua up` or `janua config-server`, or name another with --server\n"
    )


async def test_a_server_of_another_kind() -> None:
    async with serving() as address:
        done = await janua("nodes", "--server", address)
    assert done.code == 1
    assert done.err.startswith(f"janua nodes: the server at {address} is no config server")
    assert done.err.count("\n") == 1
