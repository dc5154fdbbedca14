"""The commands `nodes` and `status`: the gateway nodes, and the endpoints as the nodes see them."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from janua.config.v1.config_service_pb2 import (
    GetRolloutResponse,
    ListNodesResponse,
    Node,
    NodeRollout,
    Rejection,
)
from rich.console import Group, RenderableType
from rich.text import Text

from janua_client.cli.ages import ago, rfc3339
from janua_client.cli.endpoint_report import Seen, endpoint_data, print_endpoints
from janua_client.cli.live import Outage, Watch, check_watch, show_live
from janua_client.cli.options import DEFAULT_SERVER, Output, Server
from janua_client.cli.output import Cell, Json, OutputFormat, make_table, print_data, print_table, stdout, warn, warning
from janua_client.cli.rollout_report import rejection_data, rejection_line, state, state_words
from janua_client.cli.server import connect
from janua_client.config_client import ConfigClient
from janua_client.errors import NotFoundError
from janua_client.streams import merged

_COLUMNS = ("NODE", "CLUSTER", "VERSION", "STATE", "CONFIG", "ACKED", "REFUSED", "LAST SEEN")


def nodes(watch: Watch = False, server: Server = DEFAULT_SERVER, output: Output = OutputFormat.TABLE) -> None:
    """List the gateway nodes: whether they are connected, what they run, and whether they have the configuration.

    STATE is ready, draining, disconnected, or connected: not ready yet, or a client
    of another kind, which does not say how it is.

    Examples:

      janua nodes
      janua nodes -o json
      janua nodes --watch
    """
    if watch:
        check_watch(output)
    asyncio.run(_watch_nodes(server, output) if watch else _nodes(server, output))


async def _watch_nodes(server: str, output: OutputFormat) -> None:
    outage = Outage(server)
    async with connect(server, outage.reconnecting) as client, aclosing(_fleets(client)) as fleets:
        await show_live(
            fleets,
            output,
            view=lambda fleet: fleet.view(datetime.now(UTC)),
            data=lambda fleet: fleet.nodes_data(),
            outage=outage,
        )


async def _fleets(client: ConfigClient) -> "AsyncGenerator[Fleet]":
    """The fleet each time a node has changed, or how far it has come."""
    listed: ListNodesResponse | None = None
    rollout: GetRolloutResponse | None = None
    news: AsyncGenerator[ListNodesResponse | GetRolloutResponse] = merged(client.watch_nodes(), client.watch_rollout())
    async with aclosing(news):
        async for state in news:
            if isinstance(state, ListNodesResponse):
                listed = state
            else:
                rollout = state
            if listed is not None and rollout is not None:
                yield Fleet(ListNodesResponse(nodes=listed.nodes, revision=rollout.revision), rollout)


async def _nodes(server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        fleet = await _read(client)
    if output is OutputFormat.TABLE:
        fleet.print_nodes(datetime.now(UTC))
    else:
        print_data(fleet.nodes_data(), output)


def status(server: Server = DEFAULT_SERVER, output: Output = OutputFormat.TABLE) -> None:
    """Show the revision, the nodes, and each endpoint as the nodes see it: health, why and since when, load, ejections.

    LEVEL is the endpoint's priority: lower is preferred. LATENCY is the time to the
    first content of an answer, recent answers counting most. Nodes report every
    30 seconds, and at once when the health of an endpoint changes.

    Examples:

      janua status
      janua status -o json
    """
    asyncio.run(_status(server, output))


async def _status(server: str, output: OutputFormat) -> None:
    async with connect(server) as client:
        fleet = await _read(client)
    if output is OutputFormat.TABLE:
        now = datetime.now(UTC)
        stdout().print(f"revision {fleet.revision}\n")
        fleet.print_nodes(now)
        stdout().print()
        print_endpoints(fleet.endpoints(), now)
    else:
        endpoints = endpoint_data(fleet.endpoints())
        print_data({"revision": fleet.revision, "nodes": fleet.node_data(), "endpoints": endpoints}, output)


class Fleet:
    """The nodes, and how far each has come with the current revision."""

    def __init__(self, listed: ListNodesResponse, rollout: GetRolloutResponse | None) -> None:
        self.revision = listed.revision
        self._nodes: Sequence[Node] = listed.nodes
        self._rollouts: Mapping[str, NodeRollout] = {each.node_id: each for each in rollout.nodes} if rollout else {}

    def print_nodes(self, now: datetime) -> None:
        """A table of the nodes, and on stderr what they refuse."""
        print_table(_COLUMNS, [self._row(node, now) for node in self._nodes], empty="no node has been seen yet")
        for text in self._refusals():
            warn(text)

    def view(self, now: datetime) -> RenderableType:
        """All that in one."""
        table = make_table(_COLUMNS, [self._row(node, now) for node in self._nodes])
        return Group(f"revision {self.revision}\n", table, *map(warning, self._refusals()))

    def _refusals(self) -> Iterator[str]:
        for node in self._nodes:
            for rejection in _rejections(node):
                yield f"{node.id} refuses {rejection_line(rejection)}"

    def nodes_data(self) -> Json:
        """The revision and the nodes as data."""
        return {"revision": self.revision, "nodes": self.node_data()}

    def _row(self, node: Node, now: datetime) -> Sequence[Cell]:
        rollout = self._rollouts.get(node.id)
        return (
            node.id,
            node.cluster or "-",
            node.version or "-",
            Text(connection(node), "green" if connection(node) == "ready" else "yellow"),
            state_words(rollout) if rollout else "-",
            str(rollout.acked_revision) if rollout else "-",
            str(len(list(_rejections(node)))),
            ago(node.last_seen_time, now),
        )

    def node_data(self) -> Sequence[Json]:
        """The nodes as data."""
        return [self._data(node) for node in self._nodes]

    def _data(self, node: Node) -> Json:
        rollout = self._rollouts.get(node.id)
        addresses = node.status.addresses
        return {
            "id": node.id,
            "cluster": node.cluster,
            "version": node.version,
            "state": connection(node),
            "config": state(rollout) if rollout else None,
            "acked_revision": rollout.acked_revision if rollout else None,
            "rejections": [rejection_data(each) for each in _rejections(node)],
            "connected_since": rfc3339(node.connect_time) if node.connected else None,
            "config_server": node.replica,
            "last_seen": rfc3339(node.last_seen_time),
            "addresses": {"http": addresses.http, "grpc": addresses.grpc, "admin": addresses.admin},
            "active_requests": node.status.active_requests,
        }

    def endpoints(self) -> Sequence[Seen]:
        """The endpoints as connected nodes see them; what others last said may no longer be so."""
        seen = [(endpoint, node) for node in self._nodes if node.connected for endpoint in node.status.endpoints]
        return sorted(seen, key=lambda pair: (pair[0].upstream, pair[0].address, pair[1].id))


async def _read(client: ConfigClient) -> Fleet:
    listed = await client.nodes()
    try:
        return Fleet(listed, await client.rollout())
    except NotFoundError:  # nothing has been applied yet
        return Fleet(listed, None)


def connection(node: Node) -> str:
    """`ready`, `draining`, `disconnected`, or `connected` for one that has not said that it takes requests."""
    if not node.connected:
        return "disconnected"
    if node.status.draining:
        return "draining"
    return "ready" if node.status.ready else "connected"


def _rejections(node: Node) -> Iterator[Rejection]:
    for each in node.types:
        yield from each.rejections
