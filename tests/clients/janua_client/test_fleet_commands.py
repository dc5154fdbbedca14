"""`janua nodes` and `janua status`: what the nodes say, in a table and as data."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
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
from janua.config.v1.upstream_pb2 import Endpoint
from janua_client.cli.ages import ago, rfc3339
from janua_client.cli.endpoint_report import print_endpoints

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
        ready=True,
        active_requests=3,
        endpoints=[
            EndpointStatus(
                upstream="pool", address="b:1", healthy=False, reason="HTTP 503", since=MORNING, active_requests=1
            ),
            EndpointStatus(upstream="pool", address="a:1", healthy=True),
            EndpointStatus(
                upstream="pool",
                address="c:1",
                healthy=False,
                reason="ejected: 5 gateway failures in a row",
                since=MORNING,
                latency=Duration(nanos=12_345_678),
                ejections=2,
                ejected_until=Timestamp(seconds=MORNING.seconds + 30, nanos=500_000_000),
                state=Endpoint.STATE_DRAINING,
                priority=1,
            ),
        ],
    ),
)
OTHERS = [
    Node(id="edge-2", connected=True, status=NodeStatus(draining=True)),
    Node(id="envoy", connected=True),
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
    header, edge, draining, connected, gone = out.splitlines()
    assert cells(header)[:7] == ["NODE", "CLUSTER", "VERSION", "STATE", "CONFIG", "ACKED", "REFUSED"]
    assert cells(edge)[:7] == ["edge-1", "edge", "0.1.0", "ready", "error", "6", "1"]
    assert cells(draining) == ["edge-2", "-", "-", "draining", "synced", "7", "0", "-"]
    assert cells(connected)[:5] == ["envoy", "-", "-", "connected", "-"]
    assert cells(gone)[3:6] == ["disconnected", "not", "sent"]
    assert err == "warning: edge-1 refuses route/chat: match.path.regex: no regex (INVALID_FIELD)\n"


async def test_what_a_node_says_does_nothing_to_the_terminal() -> None:
    clear, title = "\x1b[2J", "\x1b]0;all is well\x07"
    rejection = Rejection(name="chat", reason="R", message=f"no{title}\x9b31m\u202e")
    node = Node(id=f"edge{clear}", cluster=clear, version=clear, types=[NodeType(rejections=[rejection])])

    async def one(request: ListNodesRequest, context: Context) -> ListNodesResponse:
        return ListNodesResponse(nodes=[node])

    async with serving(ListNodes=one, GetRollout=get_rollout) as address:
        done = await janua("nodes", "--server", address)
    assert r"edge\x1b[2J" in done.out
    assert r"no\x1b]0;all is well" in done.err
    assert all(each.isprintable() or each == "\n" for each in done.out + done.err)


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
        "config_server": "",
        "last_seen": "2030-01-01T08:00:00Z",
        "addresses": {"http": "10.0.0.1:8080", "grpc": "10.0.0.1:8081", "admin": "10.0.0.1:9901"},
        "active_requests": 3,
    }
    assert [node["state"] for node in data["nodes"]] == ["ready", "draining", "connected", "disconnected"]


async def test_status_shows_endpoints_as_connected_nodes_see_them() -> None:
    out, _ = await run("status")
    revision, *_, header, well, ill, ejected = out.splitlines()
    assert revision == "revision 7"
    assert cells(header) == [
        *("UPSTREAM", "ENDPOINT", "NODE", "LEVEL", "HEALTH", "WHY", "SINCE", "REQUESTS", "LATENCY", "EJECTIONS")
    ]
    assert cells(well) == ["pool", "a:1", "edge-1", "0", "healthy", "-", "-", "0", "-", "0"]
    assert cells(ill)[:7] == ["pool", "b:1", "edge-1", "0", "unhealthy", "HTTP", "503"]
    assert cells(ejected)[:6] == ["pool", "c:1", "edge-1", "1", "ejected,", "draining"]
    assert "  5 gateway failures in a row  " in ejected
    assert cells(ejected)[-5:-2] == ["0", "12ms", "2,"]
    assert "old:1" not in out


async def test_status_as_data() -> None:
    out, _ = await run("status", "-o", "json")
    data = json.loads(out)
    assert [node["id"] for node in data["nodes"]] == ["edge-1", "edge-2", "envoy", "gone"]
    assert data["endpoints"][1] == {
        "upstream": "pool",
        "address": "b:1",
        "node": "edge-1",
        "healthy": False,
        "reason": "HTTP 503",
        "since": "2030-01-01T08:00:00Z",
        "state": "ACTIVE",
        "priority": 0,
        "active_requests": 1,
        "latency_ms": None,
        "ejections": 0,
        "ejected_until": None,
    }
    assert data["endpoints"][2] == {
        "upstream": "pool",
        "address": "c:1",
        "node": "edge-1",
        "healthy": False,
        "reason": "ejected: 5 gateway failures in a row",
        "since": "2030-01-01T08:00:00Z",
        "state": "DRAINING",
        "priority": 1,
        "active_requests": 0,
        "latency_ms": 12.346,
        "ejections": 2,
        "ejected_until": "2030-01-01T08:00:30.500Z",
    }


def printed(capsys: pytest.CaptureFixture[str], endpoint: EndpointStatus) -> list[str]:
    """The row of an endpoint, its cells apart."""
    print_endpoints([(endpoint, Node(id="n"))], NOW)
    row: list[str] = re.split(r"\s{2,}", capsys.readouterr().out.splitlines()[1])
    return row


@pytest.mark.parametrize(
    ("endpoint", "health"),
    [
        (EndpointStatus(healthy=True), "healthy"),
        (EndpointStatus(healthy=True, state=Endpoint.STATE_DRAINING), "healthy, draining"),
        (EndpointStatus(state=Endpoint.STATE_DRAINING), "unhealthy, draining"),
        (EndpointStatus(healthy=True, state=Endpoint.STATE_DISABLED), "disabled"),
        (EndpointStatus(ejected_until=MORNING), "ejected"),
        (EndpointStatus(healthy=True, state=99), "healthy"),  # type: ignore[arg-type]  # of a newer node
    ],
)
def test_health_is_told_with_what_is_configured(
    capsys: pytest.CaptureFixture[str], endpoint: EndpointStatus, health: str
) -> None:
    endpoint.upstream, endpoint.address = "u", "a:1"
    assert printed(capsys, endpoint)[4] == health


@pytest.mark.parametrize(
    ("millis", "expected"),
    [(0.26, "0.3ms"), (9.4, "9.4ms"), (10, "10ms"), (999.4, "999ms"), (1000, "1.0s"), (75_340, "75.3s")],
)
def test_latencies_are_as_exact_as_people_want(
    capsys: pytest.CaptureFixture[str], millis: float, expected: str
) -> None:
    endpoint = EndpointStatus(upstream="u", address="a:1")
    endpoint.latency.FromMicroseconds(round(millis * 1000))
    assert printed(capsys, endpoint)[-2] == expected


@pytest.mark.parametrize(("seconds", "expected"), [(25, "3, 25s left"), (90, "3, 1m left"), (-1, "3, now")])
def test_ejections_are_told_with_the_time_left(capsys: pytest.CaptureFixture[str], seconds: int, expected: str) -> None:
    endpoint = EndpointStatus(upstream="u", address="a:1", ejections=3)
    endpoint.ejected_until.FromDatetime(NOW + timedelta(seconds=seconds))
    assert printed(capsys, endpoint)[-1] == expected


async def test_a_usual_status_fits_in_120_columns() -> None:
    usual = EndpointStatus(
        upstream="llama-pool",
        address="10.20.30.40:9001",
        reason="GET /health: status 503",
        since=MORNING,
        active_requests=12,
        latency=Duration(seconds=1),
        ejections=3,
    )

    async def usual_nodes(request: ListNodesRequest, context: Context) -> ListNodesResponse:
        node = Node(id="gateway-1", connected=True, status=NodeStatus(endpoints=[usual]))
        return ListNodesResponse(revision=7, nodes=[node])

    async with serving(ListNodes=usual_nodes, GetRollout=get_rollout) as address:
        done = await janua("status", "--server", address)
    assert max(len(line) for line in done.out.splitlines()) <= 120


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
