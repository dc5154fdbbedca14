"""A node that is about to stop says in the Open Inference Protocol too that it is not ready, but lives."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.schemas.readiness import encode_truth
from tests.conformance.configuration import EMPTY
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.open_inference import GrpcInferCaller


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path)
    process.start(render(EMPTY, "at-start"))
    yield process
    process.stop()


async def test_draining_node_is_not_ready(process: GatewayProcess, session: aiohttp.ClientSession) -> None:
    gateway = Gateway(process, session)
    url = f"http://{gateway.addresses.http}/v2/health"
    async with grpc.aio.insecure_channel(gateway.addresses.grpc) as channel:
        caller = GrpcInferCaller(channel)
        for is_ready, status in ((True, 200), (False, 503)):
            async with session.get(f"{url}/ready") as ready, session.get(f"{url}/live") as live:
                assert (ready.status, await ready.json()) == (status, {"ready": is_ready})
                assert live.status == 200
            assert await caller.call("ServerReady", b"") == encode_truth(is_ready)
            assert await caller.call("ServerLive", b"") == encode_truth(True)
            await gateway.post("/drain")
