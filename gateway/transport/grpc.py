"""gRPC to backends: a channel per endpoint, messages as bytes.

grpcio's exceptions end here: callers see `ConnectError` (nothing was sent), `ConnectionBrokenError` and, for what a
backend says itself, `GrpcStatusError`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from grpc import aio

from gateway.config.upstream import TlsConfig
from gateway.transport.http import ConnectError, ConnectionBrokenError
from gateway.transport.tls import split_certificate

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A backend that is back is used at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A backend that has vanished without a word is noticed, as long as something waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Retrying is the gateway's own work.
    ("grpc.enable_retries", 0),
    # Connections of one upstream's channels are nobody else's.
    ("grpc.use_local_subchannel_pool", 1),
)

# How grpcio words its own findings about connections; a server's own UNAVAILABLE has the server's words.
_NOT_CONNECTED = ("failed to connect", "connection refused", "dns resolution failed", "handshake", "no route to host")
_BROKEN = (
    "socket closed", "connection reset", "broken pipe", "goaway", "rst_stream", "stream removed", "ping timeout",
    "endpoint closed", "transport closed", "eof", "recvmsg", "sendmsg", "keepalive",
)  # fmt: skip


class GrpcStatusError(Exception):
    """The backend ended the call with this status: its name, text and trailing metadata."""

    def __init__(self, code: str, details: str, trailing_metadata: Metadata = ()) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """The whole answer to a unary call."""

    message: bytes
    initial_metadata: Metadata
    trailing_metadata: Metadata


class GrpcStream:
    """A call of any kind as two streams of messages. Must be cancelled if it is left before its end."""

    def __init__(self, call: "aio.StreamStreamCall[bytes, bytes]") -> None:
        self._call = call

    async def initial_metadata(self) -> Metadata:
        """What the backend sends before its first message. Raises like `read`."""
        try:
            return _metadata(await self._call.initial_metadata())
        except aio.AioRpcError as error:
            raise _mapped(error) from error

    async def write(self, message: bytes) -> None:
        """Sends a message; returns once there is room for the next. An answer that has ended takes no more: nothing
        happens then, and `read` tells how it ended."""
        try:
            await self._call.write(message)
        except (asyncio.InvalidStateError, aio.AioRpcError, aio.UsageError):
            return

    async def done_writing(self) -> None:
        """Tells the backend that no message follows."""
        try:
            await self._call.done_writing()
        except (asyncio.InvalidStateError, aio.AioRpcError):
            return

    async def read(self) -> bytes | None:
        """The next message, or None at a good end. Raises the error of the call."""
        try:
            message = await self._call.read()
            if isinstance(message, bytes):
                return message
            if (code := await self._call.code()) is grpc.StatusCode.OK:
                return None
            details, trailing = await self._call.details(), await self._call.trailing_metadata()
        except aio.AioRpcError as error:
            raise _mapped(error) from error
        raise _mapped_status(code, details, _metadata(trailing))

    async def trailing_metadata(self) -> Metadata:
        """What the backend sends after its last message."""
        return _metadata(await self._call.trailing_metadata())

    def cancel(self) -> None:
        """Ends the call at the backend too. Does nothing to one that has ended."""
        self._call.cancel()


class GrpcTransport:
    """Channels to the endpoints of one upstream. Must be made and used on one event loop, and closed."""

    def __init__(self, tls: TlsConfig | None) -> None:
        """Raises `ValueError` for TLS settings that cannot be used."""
        self._tls = tls
        self._credentials = _credentials(tls)
        self._channels: dict[tuple[str, bool, str | None], aio.Channel] = {}
        self._active_calls = 0
        self._is_idle: asyncio.Event | None = None
        self._is_closed = False

    async def unary(
        self,
        address: str,
        method: str,
        message: bytes,
        *,
        is_secure: bool,
        server_name: str | None,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> GrpcAnswer:
        """Calls `/package.Service/Method` at `host:port`."""
        channel = self._channel(address, is_secure, server_name)
        self._active_calls += 1
        try:
            multicallable: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            call = multicallable(message, metadata=_to_send(metadata), timeout=timeout_s)
            try:
                answer = await call
                initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            except aio.AioRpcError as error:
                raise _mapped(error) from error
            return GrpcAnswer(bytes(answer), _metadata(initial), _metadata(trailing))
        finally:
            self._call_ended()

    def stream(
        self,
        address: str,
        method: str,
        *,
        is_secure: bool,
        server_name: str | None,
        metadata: Metadata,
        timeout_s: float | None,
    ) -> GrpcStream:
        """Begins a call of any kind. Whether it reaches anybody is known with the first that is read of it."""
        channel = self._channel(address, is_secure, server_name)
        self._active_calls += 1
        multicallable: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        call = multicallable(metadata=_to_send(metadata), timeout=timeout_s)
        call.add_done_callback(lambda _: self._call_ended())
        return GrpcStream(call)

    def _channel(self, address: str, is_secure: bool, server_name: str | None) -> aio.Channel:
        if self._is_closed:
            raise ConnectError("the upstream is no longer configured")
        key = (address, is_secure, server_name)
        channel = self._channels.get(key)
        if channel is None:
            options: list[tuple[str, str | int]] = [*_OPTIONS]
            if server_name is not None:
                options.append(("grpc.default_authority", server_name))
                if is_secure:
                    options.append(("grpc.ssl_target_name_override", server_name))
            target = f"ipv4:{address}" if address[0].isdigit() else f"ipv6:{address}" if address[0] == "[" else address
            channel = (
                aio.secure_channel(target, self._credentials, options=options)
                if is_secure
                else aio.insecure_channel(target, options=options)
            )
            self._channels[key] = channel
        return channel

    def _call_ended(self) -> None:
        self._active_calls -= 1
        if self._is_idle is not None and self._active_calls == 0:
            self._is_idle.set()

    async def close_when_idle(self) -> None:
        """Waits until every call has ended, then closes all channels."""
        self._is_idle = asyncio.Event()
        if self._active_calls:
            await self._is_idle.wait()
        await self.close()

    async def close(self) -> None:
        """Closes all channels."""
        self._is_closed = True
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()


def _credentials(tls: TlsConfig | None) -> grpc.ChannelCredentials:
    if tls is None:
        return grpc.ssl_channel_credentials()
    if not tls.verify:
        raise ValueError("insecure_skip_verify is not possible with protocol GRPC")
    chain, key = split_certificate(tls.client_certificate.reveal()) if tls.client_certificate else (None, None)
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca_pem.encode() if tls.ca_pem else None, private_key=key, certificate_chain=chain
    )


def _to_send(metadata: Metadata) -> aio.Metadata:
    return aio.Metadata(*metadata)


def _metadata(received: object) -> Metadata:
    return tuple((str(name), value) for name, value in received) if received is not None else ()  # type: ignore[attr-defined]


def _mapped(error: aio.AioRpcError) -> Exception:
    return _mapped_status(error.code(), error.details(), _metadata(error.trailing_metadata()))


def _mapped_status(code: grpc.StatusCode, details: str | None, trailing: Metadata) -> Exception:
    """grpcio tells failures of the connection as a status too; a server's own carries metadata or other words."""
    text = details or ""
    if code is grpc.StatusCode.UNAVAILABLE and not trailing:
        words = text.lower()
        if any(each in words for each in _NOT_CONNECTED):
            return ConnectError(_short(text))
        if any(each in words for each in _BROKEN):
            return ConnectionBrokenError(_short(text))
    return GrpcStatusError(code.name, text, trailing)


def _short(text: str) -> str:
    """The last part of grpcio's long-winded findings: `…: Connection refused (111)`."""
    return text.rpartition(": ")[2].partition(" (")[0].lower() or "no connection"
