"""What tests of probes have in common: a probe of one endpoint, and what it says; servers that speak gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import grpc
from grpc import aio

from gateway.config.upstream import EndpointConfig, Probe, TlsConfig, UpstreamConfig, UpstreamProtocol
from gateway.transport.errors import TransportError
from gateway.upstream.cluster import utc_now
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.probes.table import make_probe

Context: TypeAlias = "aio.ServicerContext[bytes, bytes]"


async def ask(
    probe: Probe,
    url: str,
    *,
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1,
    tls: TlsConfig | None = None,
    found_at: str | None = None,
    timeout_s: float = 10.0,
) -> str | None:
    """What one question to the endpoint at a URL says: None for well. Raises `TransportError`.

    `found_at` is the IP address that a resolver found for the URL's host.
    """
    config = EndpointConfig(address=urlsplit(url).netloc, url=url, resolved_host=found_at)
    server_name = tls.server_name if tls is not None else None
    endpoint = Endpoint(config, since=utc_now(), clock=asyncio.get_running_loop().time, server_name=server_name)
    connections = Connections(UpstreamConfig(name="pool", endpoints=(config,), protocol=protocol, tls=tls))
    try:
        return await make_probe(probe, endpoint, connections).ask(timeout_s)
    finally:
        await connections.close()


async def fault(probe: Probe, url: str, *, protocol: UpstreamProtocol = UpstreamProtocol.HTTP1) -> str:
    """The text of the `TransportError` that a question ends with."""
    try:
        answer = await ask(probe, url, protocol=protocol)
    except TransportError as error:
        return str(error)
    raise AssertionError(f"answered with {answer}")


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """An address where nobody listens."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    yield f"127.0.0.1:{port}"


class GrpcBackend(grpc.GenericRpcHandler):
    """A server that answers every unary call with the same bytes, or ends it with the same status.

    `calls` are the methods and messages that came.
    """

    def __init__(self) -> None:
        self.answer: bytes | grpc.StatusCode = b""
        self.calls: list[tuple[str, bytes]] = []
        self.address = ""
        self.hangs = False

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def handle(request: bytes, context: Context) -> bytes:
            self.calls.append((str(details.method), request))
            if self.hangs:
                await asyncio.Event().wait()
            if isinstance(self.answer, grpc.StatusCode):
                await context.abort(self.answer, "no details" if self.answer is grpc.StatusCode.NOT_FOUND else "")
            return self.answer

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def serving_grpc(
    backend: grpc.GenericRpcHandler, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """Serves it, on the address that this gives."""
    server = aio.server(handlers=[backend])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
