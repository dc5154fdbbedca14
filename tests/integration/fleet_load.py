"""Calls without end over gRPC, and which nodes they reach."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from grpc import aio
from janua.inference.v1.chat_pb2 import ChatCompletionRequest, CreateChatCompletionRequest
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from janua_client.messages import user
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.configuration import KEY
from tests.support.polling import eventually
from tests.support.processes import Node

# Calls must not stop; that they use up all processors would only make nodes start slowly.
_PAUSE_S = 0.05
_METADATA = (("authorization", f"Bearer {KEY}"),)


async def requests(node: Node) -> float:
    """How many requests a node has had."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{node.admin}/metrics") as response:
        text = await response.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "janua_requests_total"
    )


async def gets_requests(node: Node) -> None:
    """Returns once some more have come to the node."""
    before = await requests(node)

    async def has_more() -> bool:
        return await requests(node) >= before + 5

    await eventually(has_more)


async def call_once(address: str) -> None:
    """One call over a connection of its own. Raises AioRpcError."""
    async with aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        await _call(channel)


@asynccontextmanager
async def load(address: str, *, workers: int = 8) -> AsyncIterator[Counter[str]]:
    """Calls over one connection, so many at a time, until the context ends; counts what comes of them."""
    results: Counter[str] = Counter()
    is_stopped = asyncio.Event()

    async def work(channel: aio.Channel) -> None:
        while not is_stopped.is_set():
            try:
                await _call(channel)
                results["ok"] += 1
            except aio.AioRpcError as error:
                results[f"{error.code().name}: {error.details()}"] += 1
            await asyncio.sleep(_PAUSE_S)

    async with aio.insecure_channel(address) as channel, asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(work(channel))
        try:
            yield results
        finally:
            is_stopped.set()


async def _call(channel: aio.Channel) -> None:
    request = CreateChatCompletionRequest(request=ChatCompletionRequest(model="echo", messages=[user("one two")]))
    await InferenceServiceStub(channel).CreateChatCompletion(request, metadata=_METADATA, timeout=20)
