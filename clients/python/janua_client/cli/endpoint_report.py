"""Endpoints as the nodes see them: a table for people, data for programs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from google.protobuf.duration_pb2 import Duration
from janua.config.v1.config_service_pb2 import EndpointStatus, Node
from janua.config.v1.upstream_pb2 import Endpoint
from rich.text import Text

from janua_client.cli.ages import ago, left, rfc3339
from janua_client.cli.output import Cell, Json, print_table

Seen: TypeAlias = tuple[EndpointStatus, Node]
"""An endpoint, and the node that sees it so."""

_COLUMNS: Final = (
    "UPSTREAM",
    "ENDPOINT",
    "NODE",
    "LEVEL",
    "HEALTH",
    "WHY",
    "SINCE",
    "REQUESTS",
    "LATENCY",
    "EJECTIONS",
)

# What the configuration says of an endpoint; the words are those of the node's own /endpoints. Nodes that do not say it
# know no other state.
_STATES: Final = {
    Endpoint.STATE_UNSPECIFIED: "ACTIVE",
    Endpoint.STATE_ACTIVE: "ACTIVE",
    Endpoint.STATE_DRAINING: "DRAINING",
    Endpoint.STATE_DISABLED: "DISABLED",
}


def print_endpoints(seen: Iterable[Seen], now: datetime) -> None:
    """A table, one line for each node that knows an endpoint."""
    print_table(_COLUMNS, [_row(*each, now) for each in seen], empty="no node has reported an endpoint")


def _row(endpoint: EndpointStatus, node: Node, now: datetime) -> Sequence[Cell]:
    return (
        endpoint.upstream,
        endpoint.address,
        node.id,
        str(endpoint.priority),
        _health(endpoint),
        endpoint.reason.removeprefix("ejected: ") or "-",
        ago(endpoint.since, now),
        str(endpoint.active_requests),
        _latency(endpoint.latency) if endpoint.HasField("latency") else "-",
        _ejections(endpoint, now),
    )


def _health(endpoint: EndpointStatus) -> Text:
    if endpoint.state == Endpoint.STATE_DISABLED:
        return Text("disabled", "yellow")  # it is not checked, so nothing is known of its health
    if endpoint.HasField("ejected_until"):
        health = Text("ejected", "red")
    else:
        health = Text("healthy", "green") if endpoint.healthy else Text("unhealthy", "red")
    return health.append(", draining", "yellow") if endpoint.state == Endpoint.STATE_DRAINING else health


def _latency(latency: Duration) -> str:
    millis = _millis(latency)
    if millis >= 1000:
        return f"{millis / 1000:.1f}s"
    return f"{millis:.0f}ms" if millis >= 10 else f"{millis:.1f}ms"


def _millis(latency: Duration) -> float:
    return latency.seconds * 1000 + latency.nanos / 1_000_000


def _ejections(endpoint: EndpointStatus, now: datetime) -> str:
    if not endpoint.HasField("ejected_until"):
        return str(endpoint.ejections)
    return f"{endpoint.ejections}, {left(endpoint.ejected_until, now)}"


def endpoint_data(seen: Iterable[Seen]) -> Sequence[Json]:
    """The same as data. `latency_ms` is null before the first answer, `ejected_until` while there is no ejection."""
    return [
        {
            "upstream": endpoint.upstream,
            "address": endpoint.address,
            "node": node.id,
            "healthy": endpoint.healthy,
            "reason": endpoint.reason,
            "since": rfc3339(endpoint.since),
            "state": _STATES.get(endpoint.state, str(endpoint.state)),
            "priority": endpoint.priority,
            "active_requests": endpoint.active_requests,
            "latency_ms": round(_millis(endpoint.latency), 3) if endpoint.HasField("latency") else None,
            "ejections": endpoint.ejections,
            "ejected_until": rfc3339(endpoint.ejected_until),
        }
        for endpoint, node in seen
    ]
