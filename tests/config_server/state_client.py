"""A state-of-the-world client that does what a test says: see `ads_client`."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from grpc import aio
from janua.discovery.v3.ads_pb2 import DiscoveryRequest, DiscoveryResponse, Node
from janua.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub

_TIMEOUT_S = 10.0
_M = TypeVar("_M", bound=Message)
_FENCE = "type.googleapis.com/test.Fence"


class StateClient:
    """One stream. Nothing is acknowledged unless the test does so."""

    def __init__(self, call: "aio.StreamStreamCall[DiscoveryRequest, DiscoveryResponse]", node: Node) -> None:
        self._call = call
        self._node: Node | None = node
        self._fence: DiscoveryResponse | None = None
        self._fences = 0

    async def send(
        self,
        type_url: str,
        names: Iterable[str] = (),
        *,
        version: str = "",
        nonce: str = "",
        error: Status | None = None,
    ) -> None:
        node, self._node = self._node, None
        request = DiscoveryRequest(
            node=node,
            type_url=type_url,
            resource_names=names,
            version_info=version,
            response_nonce=nonce,
            error_detail=error,
        )
        await self._call.write(request)

    async def receive(self) -> DiscoveryResponse:
        async with asyncio.timeout(_TIMEOUT_S):
            response = await self._call.read()
        assert isinstance(response, DiscoveryResponse), "the stream has ended"
        return response

    async def ack(self, response: DiscoveryResponse, names: Iterable[str] = ()) -> None:
        """Accepts a response. `names` is all that is wanted from then on."""
        await self.send(response.type_url, names, version=response.version_info, nonce=response.nonce)

    async def nack(self, response: DiscoveryResponse, names: Iterable[str] = (), message: str = "refused") -> None:
        error = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=message)
        await self.send(response.type_url, names, nonce=response.nonce, error=error)

    async def ask(self, type_url: str, names: Iterable[str] = ()) -> DiscoveryResponse:
        """Sends a first request and acknowledges its answer."""
        wanted = list(names)
        await self.send(type_url, wanted)
        response = await self.receive()
        await self.ack(response, wanted)
        return response

    async def expect_no_answer(self) -> None:
        """Proves that nothing is owed for what was asked before: answers come in order, and the next is to this."""
        self._fences += 1
        await self.send(_FENCE, [f"fence-{self._fences}"], nonce=self._fence.nonce if self._fence else "")
        self._fence = await self.receive()
        assert self._fence.type_url == _FENCE, f"unexpected response: {self._fence}"

    async def end(self) -> aio.AioRpcError:
        """The status with which the server ends the stream; what it still sends before is dropped."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while await self._call.read() is not aio.EOF:
                    pass
        except aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended without an error")


@asynccontextmanager
async def state_client(channel: aio.Channel, node_id: str = "node-1") -> AsyncIterator[StateClient]:
    call = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
    try:
        yield StateClient(call, Node(id=node_id))
    finally:
        call.cancel()


def unpacked(response: DiscoveryResponse, message: type[_M]) -> list[_M]:
    return [message.FromString(resource.value) for resource in response.resources]
