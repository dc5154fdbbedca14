"""The standard gRPC health check, against the standard's own server and against others."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from gateway.config.upstream import GrpcProbe, TlsConfig, UpstreamProtocol
from gateway.transport.errors import TransportError
from tests.gateway.transport.certificates import TestCertificates
from tests.gateway.upstream.probes.probing import GrpcBackend, ask, fault, nobody, serving_grpc

GRPC = UpstreamProtocol.GRPC
CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture
async def backend() -> AsyncIterator[GrpcBackend]:
    made = GrpcBackend()
    async with serving_grpc(made) as made.address:
        yield made


async def verdict(backend: GrpcBackend, probe: GrpcProbe | None = None, timeout_s: float = 10.0) -> str | None:
    return await ask(probe or GrpcProbe(), f"http://{backend.address}", protocol=GRPC, timeout_s=timeout_s)


async def test_the_standard_server_is_understood() -> None:
    servicer = health.HealthServicer()
    status = health_pb2.HealthCheckResponse
    await servicer.set("", status.SERVING)
    await servicer.set("models", status.NOT_SERVING)

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    url = f"http://127.0.0.1:{port}"
    try:
        assert await ask(GrpcProbe(), url, protocol=GRPC) is None
        assert await ask(GrpcProbe(service_name="models"), url, protocol=GRPC) == "NOT_SERVING"
        assert (await ask(GrpcProbe(service_name="nothing"), url, protocol=GRPC) or "").startswith("NOT_FOUND")
        await servicer.set("models", status.SERVING)
        assert await ask(GrpcProbe(service_name="models"), url, protocol=GRPC) is None
    finally:
        await server.stop(None)


@pytest.mark.parametrize("name", ["", "my.Service", pytest.param("ü" * 100, id="long")])
async def test_the_service_is_named(backend: GrpcBackend, name: str) -> None:
    backend.answer = b"\x08\x01"
    assert await verdict(backend, GrpcProbe(service_name=name)) is None
    request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
    assert backend.calls == [(CHECK, request)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "UNKNOWN"),
        (b"\x08\x00", "UNKNOWN"),
        (b"\x08\x01", None),
        (b"\x08\x02", "NOT_SERVING"),
        (b"\x08\x03", "SERVICE_UNKNOWN"),
        (b"\x08\x04", "status 4"),
        (b"\x08\xac\x02", "status 300"),
        (b"garbage", "the answer is not understood"),
        (b"\x08", "the answer is not understood"),
        (b"\x08\x81", "the answer is not understood"),
    ],
)
async def test_only_serving_is_well(backend: GrpcBackend, answer: bytes, expected: str | None) -> None:
    backend.answer = answer
    assert await verdict(backend) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND, no details"),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    ],
)
async def test_a_status_is_told(backend: GrpcBackend, status: grpc.StatusCode, expected: str) -> None:
    backend.answer = status
    assert await verdict(backend) == expected


async def test_the_call_ends_with_its_time(backend: GrpcBackend) -> None:
    backend.hangs = True
    assert (await verdict(backend, timeout_s=0.05) or "").startswith("DEADLINE_EXCEEDED")


async def test_nobody_there() -> None:
    async with nobody() as address:
        assert await fault(GrpcProbe(), f"http://{address}", protocol=GRPC) == "connection refused"


async def test_who_does_not_speak_grpc_is_not_well() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await fault(GrpcProbe(), f"http://127.0.0.1:{port}", protocol=GRPC)


async def test_an_endpoint_found_for_a_name_must_have_that_names_certificate() -> None:
    certificates = TestCertificates()
    tls = TlsConfig(ca_pem=certificates.ca_pem)
    made = GrpcBackend()
    made.answer = b"\x08\x01"
    credentials = grpc.ssl_server_credentials([certificates.server_pem("box.example")])
    async with serving_grpc(made, credentials) as address:
        port = address.rpartition(":")[2]
        url = f"https://box.example:{port}"
        assert await ask(GrpcProbe(), url, protocol=GRPC, tls=tls, found_at="127.0.0.1") is None
        other = f"https://other.example:{port}"
        with pytest.raises(TransportError, match="certificate"):
            await ask(GrpcProbe(), other, protocol=GRPC, tls=tls, found_at="127.0.0.1")
