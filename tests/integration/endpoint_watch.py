"""What a client of discovery is told of the nodes."""

import asyncio

from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment

from config_server.fleet.envoy_types import ENDPOINTS
from tests.config_server.fleet.fleet import assigned
from tests.config_server.state_client import StateClient, unpacked
from tests.support.processes import Node


class EndpointWatch:
    """Accepts all that is sent but the last, which is left to the test."""

    def __init__(self, client: StateClient) -> None:
        self._client = client
        self._nonce = ""

    async def accept(self) -> None:
        """Asks, or accepts what was sent last."""
        await self._client.send(ENDPOINTS, ["janua"], nonce=self._nonce)

    async def next(self) -> list[str]:
        response = await self._client.receive()
        self._nonce = response.nonce
        (assignment,) = unpacked(response, ClusterLoadAssignment)
        return sorted(assigned(assignment))

    async def become(self, *nodes: Node) -> None:
        """Returns when the endpoints are those of these nodes, without accepting that."""
        expected = sorted(node.grpc for node in nodes)
        async with asyncio.timeout(20):
            await self.accept()
            while await self.next() != expected:
                await self.accept()
