"""One call cannot end the gRPC listener."""

import json
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.conformance.raw_http import connected
from tests.conformance.test_malformed_grpc import raw_call
from tests.support.processes import NodeFactory


@pytest.mark.parametrize("path", [b"/a.B/\xff", b"\xff", b"/\xc3\x28/x"])
async def test_path_that_is_not_utf8_ends_nothing(node: NodeFactory, tmp_path: Path, path: bytes) -> None:
    configuration = tmp_path / "janua.yaml"
    configuration.write_text(json.dumps({"policies": [{"name": "keys", "api_key_auth": {}}]}))
    gateway = await node(config_file=configuration)
    async with aio.insecure_channel(gateway.grpc) as channel:
        stub: Any = HealthStub(channel)  # its published types have no methods
        await stub.Check(HealthCheckRequest())
        for _ in range(3):
            async with connected(gateway.grpc) as connection:
                await connection.send(raw_call(b"\0\0\0\0\0", path=path))
                assert await connection.read() != b""
            answer = await stub.Check(HealthCheckRequest())
            assert answer.status == HealthCheckResponse.SERVING
    assert await gateway.stop() == 0
