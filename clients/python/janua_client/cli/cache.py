"""The command `cache`: answers that the nodes keep."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import aiohttp
import typer
from janua.config.v1.config_service_pb2 import Node

from janua_client.cli.failures import CommandError, one_line
from janua_client.cli.options import DEFAULT_SERVER, Output, Server
from janua_client.cli.output import Json, OutputFormat, print_data, print_table
from janua_client.cli.server import connect

_TIMEOUT = aiohttp.ClientTimeout(total=10.0)


def cache() -> None:
    """Forget answers that the nodes keep.

    Examples:

      janua cache purge --route faq
      janua cache purge --consumer alice
    """


def purge(
    route: Annotated[
        str | None,
        typer.Option("--route", envvar="JANUA_ROUTE", metavar="NAME", help="Those of a route. Default: of all."),
    ] = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            "--consumer", envvar="JANUA_CONSUMER", metavar="NAME", help="Those for a consumer alone. Default: for all."
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Have all connected nodes forget kept answers, and those that are being made.

    The nodes are asked at their admin listeners, which by default are for their own
    machine alone: where they cannot be reached from here, run it there, or POST to
    /cache/purge. What nodes keep in a store that they share is forgotten for all of
    them by any one.

    Examples:

      janua cache purge
      janua cache purge --route faq --consumer alice
    """
    named = {"route": route, "consumer": consumer}
    asyncio.run(_purge(server, {name: value for name, value in named.items() if value is not None}, output))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Purged:
    """What a node has forgotten, or why it has not."""

    node: str
    purged: int | None = None
    error: str = ""

    @property
    def data(self) -> Json:
        """The same as data."""
        return {"id": self.node, "purged": self.purged, **({"error": self.error} if self.error else {})}


async def _purge(server: str, wanted: Mapping[str, str], output: OutputFormat) -> None:
    async with connect(server) as client:
        nodes = [node for node in (await client.nodes()).nodes if node.connected]
    if not nodes:
        raise CommandError("no node is connected to the config server; see janua nodes")
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        found = await asyncio.gather(*(_purge_node(session, node, wanted) for node in nodes))
    if output is OutputFormat.TABLE:
        rows = [(each.node, "-" if each.purged is None else str(each.purged)) for each in found]
        print_table(("NODE", "PURGED"), rows, empty="no node is connected")
    else:
        print_data({"nodes": [each.data for each in found]}, output)
    if failed := [each for each in found if each.error]:
        details = [f"{each.node}: {each.error}" for each in failed]
        text = f"{len(failed)} of {len(found)} nodes have not forgotten; POST to /cache/purge on their admin listeners"
        raise CommandError(text, details=details)


async def _purge_node(session: aiohttp.ClientSession, node: Node, wanted: Mapping[str, str]) -> _Purged:
    address = node.status.addresses.admin
    if not address:
        return _Purged(node=node.id, error="it has not told where its admin listener is")
    try:
        async with session.post(f"http://{address}/cache/purge", params=wanted) as reply:
            answer = await reply.json(content_type=None)
            if reply.status == 200:
                return _Purged(node=node.id, purged=int(answer["purged"]))
            return _Purged(node=node.id, error=one_line(str(answer.get("error", f"status {reply.status}"))))
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
        return _Purged(node=node.id, error=f"cannot be reached at {address}: {one_line(str(error)) or 'no answer'}")
