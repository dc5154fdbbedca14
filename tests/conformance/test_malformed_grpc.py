"""Callers over gRPC that send what cannot be understood."""

import asyncio
import struct
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc import aio

from tests.conformance.gateway import Gateway
from tests.conformance.grpc_proxying import METHOD, GrpcClient, grpc_pool
from tests.conformance.raw_http import connected
from tests.support.grpc_backend import BackendCall, GrpcBackend, starting_backends


@pytest.fixture
async def backend() -> AsyncIterator[GrpcBackend]:
    """One scripted backend."""
    async with starting_backends() as start:
        (backend,) = await start(1)
        yield backend


@pytest.fixture
async def client(gateway: Gateway, channel: aio.Channel, backend: GrpcBackend) -> GrpcClient:
    """A client of a node that passes everything to one backend."""
    await gateway.apply(grpc_pool(backend.address))
    return GrpcClient(channel)


async def answer_whole(call: BackendCall) -> None:
    await call.receive_all()
    await call.send(b"whole")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def raw_call(data: bytes, *more: tuple[bytes, bytes], path: bytes = METHOD.encode()) -> bytes:
    """A whole connection with one call, whose messages are these bytes."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"node"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *more,
    )
    headers = b"".join(field(name, value) for name, value in fields)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    return preface + frame(1, 4, 1, headers) + frame(0, 1, 1, data)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(raw_call(b"\0\0\0\0\5ab"), id="cut message"),
        pytest.param(raw_call(b"\0\0\0"), id="cut length"),
        pytest.param(raw_call(b"\1\0\0\0\1a"), id="compressed without an encoding"),
        pytest.param(raw_call(b"\x07\0\0\0\1a"), id="unknown flag"),
        pytest.param(raw_call(b"\0\xff\xff\xff\xffa"), id="huge length"),
        pytest.param(raw_call(b"\0\0\0\0\1a", (b"x-a", b"caf\xc3\xa9")), id="text that is not ASCII"),
        pytest.param(raw_call(b"\0\0\0\0\1a", (b"x-a", b"a\nb")), id="control characters"),
        pytest.param(raw_call(b"\0\0\0\0\1a", (b"x-a-bin", b"!!!")), id="not base64"),
        pytest.param(raw_call(b"\0\0\0\0\1a", (b"X-Upper", b"a")), id="upper case"),
        pytest.param(raw_call(b"\0\0\0\0\1a", (b"grpc-timeout", b"soon")), id="no timeout"),
        pytest.param(raw_call(b"\0\0\0\0\1a", path=b"/a.B/%ff"), id="strange path"),
        pytest.param(raw_call(b"\0\0\0\0\1a")[:-3], id="cut frame"),
    ],
)
async def test_caller_that_sends_garbage(
    gateway: Gateway, client: GrpcClient, backend: GrpcBackend, sent: bytes
) -> None:
    """What cannot be understood reaches no backend, and the node is well afterwards."""
    backend.script = answer_whole
    async with connected(gateway.addresses.grpc) as connection:
        await connection.send(sent)
        await asyncio.sleep(0.1)
    await gateway.wait_until_idle()
    assert {b"".join(call.received) for call in backend.calls} <= {b"", b"a"}
    assert (await client.call(b"a")).messages == [b"whole"]


async def test_message_that_is_none_of_its_method(channel: aio.Channel) -> None:
    for method in ("CreateChatCompletion", "StreamChatCompletion", "CreateEmbeddings", "ListModels"):
        path = f"/janua.inference.v1.InferenceService/{method}"
        ask: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
        with pytest.raises(aio.AioRpcError) as caught:
            await ask(b"\xff").read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, method
        assert "the message is no janua.inference.v1." in (caught.value.details() or "")
