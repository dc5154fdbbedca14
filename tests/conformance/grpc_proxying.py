"""Configurations whose routes take gRPC calls, and a client of any method whose messages are bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from grpc import aio

from tests.conformance.configuration import Configuration
from tests.conformance.grpc_caller import failure_of
from tests.conformance.proxying import first_then, proxied

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]
Call: TypeAlias = "aio.StreamStreamCall[bytes, bytes]"

METHOD = "/test.Service/Method"

_GRPC = {"protocol": "GRPC"}


def grpc_pool(*addresses: str, upstream: Mapping[str, Any] | None = None, **fields: Any) -> Configuration:
    """All methods to one pool of these endpoints; see `proxied`."""
    return proxied(*addresses, upstream={**_GRPC, **(upstream or {})}, **fields)


def one_after_another(*addresses: str, upstream: Mapping[str, Any] | None = None, **fields: Any) -> Configuration:
    """The same, but each endpoint is for what fails on those before it."""
    return first_then(*addresses, upstream={**_GRPC, **(upstream or {})}, **fields)


def several_services(route: Mapping[str, Any], **addresses: str) -> Configuration:
    """One service per address, and a route that takes everything."""
    return {
        "upstreams": [
            {"name": name, "endpoints": [{"address": address}], **_GRPC} for name, address in addresses.items()
        ],
        "services": [
            {"name": name, "upstream_service": {"upstream": name, "schema": "PASSTHROUGH"}} for name in addresses
        ],
        "routes": [{"name": "all", "match": {"path": {"prefix": "/"}}, **route}],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call: the messages, and how it ended. `reason` is the node's own, if the error is."""

    messages: Sequence[bytes]
    status: str
    text: str
    reason: str
    initial: Metadata
    trailing: Metadata

    def values(self, name: str) -> list[str | bytes]:
        """All values of that name in the metadata of the beginning and of the end."""
        return [value for key, value in (*self.initial, *self.trailing) if key == name]


class GrpcClient:
    """Makes calls through a node."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    def open(self, method: str = METHOD, *, metadata: Metadata = (), timeout_s: float | None = None) -> Call:
        """A call whose messages are written and read by the caller."""
        call: aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(method)
        return call(metadata=aio.Metadata(*metadata), timeout=timeout_s)

    async def call(
        self, *messages: bytes, method: str = METHOD, metadata: Metadata = (), timeout_s: float | None = None
    ) -> Outcome:
        """A call with these messages, up to its end. One message goes together with the end of the messages, as that of
        a unary call does."""
        if len(messages) == 1:
            method_call: aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(method)
            return await outcome(method_call(messages[0], metadata=aio.Metadata(*metadata), timeout=timeout_s))
        call = self.open(method, metadata=metadata, timeout_s=timeout_s)
        for message in messages:
            await call.write(message)
        await call.done_writing()
        return await outcome(call)


async def outcome(call: "Call | aio.UnaryStreamCall[bytes, bytes]") -> Outcome:
    """All messages that are left, and how the call ends."""
    messages: list[bytes] = []
    reason = ""
    try:
        while isinstance(message := await call.read(), bytes):
            messages.append(message)
    except aio.AioRpcError as error:
        reason = failure_of(error).reason
    code: grpc.StatusCode = await call.code()
    return Outcome(
        messages=messages,
        status=code.name,
        text=await call.details() or "",
        reason=reason,
        initial=tuple(await call.initial_metadata()),
        trailing=tuple(await call.trailing_metadata() or ()),
    )
