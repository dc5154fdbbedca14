"""The gRPC listener outlives what ends the server underneath it."""

import json
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.conformance.raw_http import connected
from tests.conformance.test_malformed_grpc import raw_call
from tests.support.polling import eventually
from tests.support.processes import NodeFactory


async def is_serving(address: str) -> bool:
    async with aio.insecure_channel(address) as channel:
        stub: Any = HealthStub(channel)  # its published types have no methods
        try:
            answer = await stub.Check(HealthCheckRequest())
        except aio.AioRpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)


@pytest.mark.parametrize("path", [b"/a.B/\xff", b"\xff", b"/\xc3\x28/x"])
async def test_path_that_is_not_utf8_does_not_end_the_listener(node: NodeFactory, tmp_path: Path, path: bytes) -> None:
    configuration = tmp_path / "janua.yaml"
    configuration.write_text(json.dumps({"policies": [{"name": "keys", "api_key_auth": {}}]}))
    gateway = await node(config_file=configuration)
    for count in range(2):
        async with connected(gateway.grpc) as connection:
            await connection.send(raw_call(b"\0\0\0\0\0", path=path))

            async def has_ended(times: int = count + 1) -> bool:
                return gateway.log.count("ended by itself") == times

            await eventually(has_ended)
        await eventually(lambda: is_serving(gateway.grpc))
    assert await gateway.stop() == 0
