"""Which nodes take requests, and where they can be dialled. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from config_server.node_record import NodeRecord

_PORT: Final = re.compile("[0-9]{1,5}")

# Nodes report every 30 seconds: of one that was there when the server went down, the record is hardly older.
_ALIVE_WITHIN: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, order=True)
class EndpointAddress:
    """An IP address and a port."""

    host: str
    port: int


def dialable(address: str) -> EndpointAddress | None:
    """Reads `IP:PORT` or `[IPV6]:PORT`. None for what cannot be dialled: a name, which clients do not look up, an
    address that stands for all of a machine, no port."""
    host, _, port = address.rpartition(":")
    try:
        parsed = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    if parsed.is_unspecified or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        return None
    return EndpointAddress(str(parsed), int(port))


def takes_requests(record: NodeRecord) -> bool:
    """Whether the node says that it serves, and is connected, or would be if its server had not gone."""
    is_there = record.is_connected or record.has_lost_its_server
    return is_there and record.status is not None and record.status.ready and not record.status.draining


def serving(records: Iterable[NodeRecord]) -> Mapping[str, EndpointAddress]:
    """By their ids, the nodes that take requests and can be dialled."""
    found = {}
    for record in records:
        if takes_requests(record) and record.status is not None:
            address = dialable(record.status.addresses.grpc)
            if address is not None:
                found[record.node_id] = address
    return found


def undialable(records: Iterable[NodeRecord]) -> Mapping[str, str]:
    """By their ids, what nodes that take requests say of where they are, if nobody can dial it."""
    said = {
        record.node_id: record.status.addresses.grpc
        for record in records
        if takes_requests(record) and record.status is not None
    }
    return {node_id: address for node_id, address in said.items() if dialable(address) is None}


def unknown(records: Iterable[NodeRecord]) -> frozenset[str]:
    """The ids of nodes that are connected and have not yet said how they are."""
    return frozenset(record.node_id for record in records if record.is_connected and record.status is None)


def lost(records: Iterable[NodeRecord]) -> frozenset[str]:
    """The ids of nodes that are gone without having said that they would go."""
    return frozenset(
        record.node_id
        for record in records
        if not record.is_connected and not (record.status is not None and record.status.draining)
    )


def expected(records: Iterable[NodeRecord]) -> frozenset[str]:
    """The ids of nodes that were there when the server was last up, by the records that it kept.

    Clients of other makes say no version, and never report how they are.
    """
    nodes = [record for record in records if record.latest.identity.version]
    newest = max((record.last_seen_time for record in nodes), default=None)
    if newest is None:
        return frozenset()
    return frozenset(record.node_id for record in nodes if record.last_seen_time >= newest - _ALIVE_WITHIN)
