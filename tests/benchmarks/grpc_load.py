"""Load over gRPC: calls of `janua.inference.v1`, so many at a time, each after the last.

Usage: `python -m tests.benchmarks.grpc_load ADDRESS MODEL --requests 2000 [--stream] [--key KEY]`. Prints one line of
JSON. A call that fails ends the run with exit code 1.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvloop
from grpc import aio
from janua.inference.v1.chat_pb2 import (
    ChatCompletionRequest,
    ContentPart,
    CreateChatCompletionRequest,
    Message,
    StreamChatCompletionRequest,
)
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

_CHANNELS = 8
_ALONE = (("grpc.use_local_subchannel_pool", 1),)


async def run(address: str, model: str, *, count: int, at_once: int, is_streaming: bool, key: str | None) -> list[int]:
    """Makes the calls and gives the number of messages of each answer.

    Raises `AioRpcError`, and ValueError for an answer that is empty.
    """
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    asked = ChatCompletionRequest(
        model=model, messages=[Message(role=Message.ROLE_USER, content=[ContentPart(text="x" * 900)])]
    )
    left: Iterator[int] = iter(range(count))

    async def ask(stub: Any) -> int:
        if not is_streaming:
            reply = await stub.CreateChatCompletion(CreateChatCompletionRequest(request=asked), metadata=metadata)
            return int(reply.ByteSize() > 0)
        messages = 0
        async for _ in stub.StreamChatCompletion(StreamChatCompletionRequest(request=asked), metadata=metadata):
            messages += 1
        return messages

    async def work(ask: Callable[[], Awaitable[int]]) -> list[int]:
        return [await ask() for _ in left]

    channels = [aio.insecure_channel(address, options=_ALONE) for _ in range(_CHANNELS)]
    stubs = [InferenceServiceStub(channel) for channel in channels]
    async with asyncio.TaskGroup() as tasks:
        workers = [
            tasks.create_task(work(lambda stub=stubs[number % _CHANNELS]: ask(stub)))  # type: ignore[misc]
            for number in range(at_once)
        ]
    for channel in channels:
        await channel.close()
    counts = [number for worker in workers for number in worker.result()]
    if 0 in counts:
        raise ValueError("an answer was empty")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Load over gRPC.")
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--key")
    args = parser.parse_args()
    begin = time.perf_counter()
    try:
        counts = uvloop.run(
            run(
                args.address,
                args.model,
                count=args.requests,
                at_once=args.at_once,
                is_streaming=args.stream,
                key=args.key,
            )
        )
    except* (aio.AioRpcError, ValueError) as errors:
        sys.exit(f"a call failed, so the run is void: {errors.exceptions[0]!r}".replace("\n", " "))
    seconds = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"requests": len(counts), "events": sum(counts), "seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
