"""A discovery client that does what a test says: it sends requests as written and hands out responses one by one."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc
from google.rpc.status_pb2 import Status
from grpc import aio
from janua.config.v1.config_service_pb2 import Rejection
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node
from janua.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub

from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import POLICY, policy

_TIMEOUT_S = 10.0
_FENCE = "type.googleapis.com/test.Fence"


class AdsClient:
    """One stream. Nothing is acknowledged unless the test does so."""

    def __init__(self, call: "aio.StreamStreamCall[DeltaDiscoveryRequest, DeltaDiscoveryResponse]", node: Node) -> None:
        self._call = call
        self._node: Node | None = node
        self._fences = 0

    async def send(
        self,
        type_url: str,
        *,
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        error: Status | None = None,
    ) -> None:
        node, self._node = self._node, None
        request = DeltaDiscoveryRequest(
            node=node,
            type_url=type_url,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
            initial_resource_versions=initial,
            response_nonce=nonce,
            error_detail=error,
        )
        await self._call.write(request)

    async def receive(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(_TIMEOUT_S):
            response = await self._call.read()
        assert isinstance(response, DeltaDiscoveryResponse), "the stream has ended"
        return response

    async def receive_and_ack(self) -> DeltaDiscoveryResponse:
        response = await self.receive()
        await self.ack(response)
        return response

    async def ask(
        self, type_url: str, *, subscribe: Iterable[str] = (), initial: Mapping[str, str] | None = None
    ) -> DeltaDiscoveryResponse:
        """Sends a request and acknowledges its answer."""
        await self.send(type_url, subscribe=subscribe, initial=initial)
        return await self.receive_and_ack()

    async def ack(self, response: DeltaDiscoveryResponse, *, subscribe: Iterable[str] = ()) -> None:
        await self.send(response.type_url, nonce=response.nonce, subscribe=subscribe)

    async def nack(
        self, response: DeltaDiscoveryResponse, message: str = "refused", rejections: Sequence[Rejection] = ()
    ) -> None:
        error = Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=message)
        for rejection in rejections:
            error.details.add().Pack(rejection)
        await self.send(response.type_url, nonce=response.nonce, error=error)

    async def expect_no_answer(self) -> None:
        """Proves that nothing is owed for what was asked before: answers come in order, and the next is to this."""
        self._fences += 1
        name = f"fence-{self._fences}"
        await self.send(_FENCE, subscribe=[name])
        response = await self.receive_and_ack()
        assert response.type_url == _FENCE, f"unexpected response: {response}"
        assert list(response.removed_resources) == [name]

    async def end(self) -> aio.AioRpcError:
        """The status with which the server ends the stream; what it still sends before is dropped."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while await self._call.read() is not aio.EOF:
                    pass
        except aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended without an error")

    async def close(self) -> None:
        await self._call.done_writing()
        assert await self._call.code() is grpc.StatusCode.OK


@asynccontextmanager
async def ads_client(
    channel: aio.Channel, node_id: str = "node-1", *, cluster: str = "", version: str = "", epoch: str = ""
) -> AsyncIterator[AdsClient]:
    """With a version, it is a node of Janua's. `epoch`: the store that it says its configuration is of."""
    call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
    node = Node(id=node_id, cluster=cluster)
    if version:
        node.metadata.update({"janua.version": version})
    if epoch:
        node.metadata.update({"janua.epoch": epoch})
    try:
        yield AdsClient(call, node)
    finally:
        call.cancel()


def names(response: DeltaDiscoveryResponse) -> list[str]:
    return [resource.name for resource in response.resources]


def versions(*responses: DeltaDiscoveryResponse) -> dict[str, str]:
    return {resource.name: resource.version for response in responses for resource in response.resources}


async def let_pushes_go(server: RunningServer) -> None:
    """Returns once all streams have been let to send what had changed before: a push goes to all of them at once."""
    async with ads_client(server.channel, "observer") as observer:
        await observer.ask(POLICY)
        await server.apply(policy(f"seen-{secrets.token_hex(4)}"))
        await observer.receive()
