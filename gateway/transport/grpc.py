"""gRPC to backends: a channel per endpoint, messages as bytes.

grpcio's exceptions end here: callers see `ConnectError` (nothing was sent), `ConnectionBrokenError`,
`AnswerTooLargeError` and, for what a backend says itself, `GrpcStatusError`.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import grpc
from grpc import aio

from gateway.config.upstream import TlsConfig
from gateway.transport.errors import AnswerTooLargeError, ConnectError, ConnectionBrokenError
from gateway.transport.tls import client_context, split_certificate, system_trust

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

# What a call with one slow side may take of memory, bounded: windows that grpcio fits to the network by probing grew to
# many times that on a quick one. A stream brings at most so much a round trip.
FIXED_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024 * 1024))

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    # A backend that is back is used at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # A backend that has vanished without a word is noticed, as long as something waits for it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    *FIXED_WINDOW,
    # Retrying is the gateway's own work.
    ("grpc.enable_retries", 0),
    # Connections of one upstream's channels are nobody else's.
    ("grpc.use_local_subchannel_pool", 1),
)

# grpcio tells what it finds out about connections as statuses, in these words. A backend may use them too, when it is
# itself a client of others: they are believed where they name the endpoint's own address, or where the channel is not
# connected. The state alone would not do: it may be connected again by the time that the failure is seen.
_NOT_CONNECTED = re.compile(
    "failed to connect to all addresses|connections to all backends failing|errors resolving|dns resolution failed"
    "|empty address list",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"(stream removed \()?"
    r"(socket closed|connection reset|broken pipe|end of tcp stream|goaway received|(received )?rst_stream"
    r"|transport closed|endpoint clos|recvmsg|sendmsg|keepalive|ping timeout|failed parsing http/2)",
    re.IGNORECASE,
)
_LONGEST_S = 1e8

_TOO_LARGE = re.compile("CLIENT: Received message larger than max")
_REFUSED_STREAM = re.compile(r"RST_STREAM with error code 7\b")

# "PROTOCOL-HTTP2.md" of gRPC: names, and values that are not binary.
_METADATA_NAME = re.compile(r"[0-9a-z_.-]+")
_METADATA_TEXT = re.compile(r"[ -~]*")


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


class _Sender(Protocol):
    async def send_serialized_message(self, message: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class _Connection:
    """The channel to one endpoint, `host:port`."""

    channel: aio.Channel
    address: str

    def lacked(self, details: str) -> bool:
        """Whether a failure in these words means that there was no connection."""
        if not _NOT_CONNECTED.match(details):
            return False
        return f"{self.address}: " in details or self.channel.get_state() is not grpc.ChannelConnectivity.READY


class GrpcStream:
    """A call of any kind as two streams of messages. Must be cancelled if it is left before its end."""

    def __init__(self, call: "aio.StreamStreamCall[bytes, bytes]", connection: _Connection) -> None:
        self._call = call
        self._connection = connection
        # What `call.write` uses itself. But one that comes after the backend's end makes that put a status of its own
        # in the place of the backend's, and forget the messages that have not been read.
        self._sender: _Sender = call._cython_call  # type: ignore[attr-defined]

    async def initial_metadata(self) -> Metadata:
        """What the backend sends before its first message. Raises like `read`."""
        try:
            return _metadata(await self._call.initial_metadata())
        except aio.AioRpcError as error:
            raise _mapped(error, self._connection) from error
        except asyncio.CancelledError:
            raise self._cancelled() from None

    async def write(self, message: bytes) -> None:
        """Sends a message; returns once there is room for the next. An answer that has ended takes no more: nothing
        happens then, and `read` tells how it ended."""
        try:
            await self._call.wait_for_connection()
            await self._sender.send_serialized_message(message)
        except (aio.AioRpcError, aio.InternalError):
            return
        except asyncio.CancelledError:
            if _was_cancelled_from_outside():
                self._call.cancel()
                raise

    async def done_writing(self) -> None:
        """Tells the backend that no message follows."""
        try:
            await self._call.done_writing()
        except (asyncio.InvalidStateError, aio.AioRpcError, aio.InternalError):
            return
        except asyncio.CancelledError:
            if _was_cancelled_from_outside():
                raise

    async def read(self) -> bytes | None:
        """The next message, or None at a good end.

        Raises `GrpcStatusError` for the status that the backend or the deadline ended the call with, `ConnectError`,
        and `ConnectionBrokenError`, also once the call has been cancelled.
        """
        try:
            message = await self._call.read()
            if isinstance(message, bytes):
                return message
            if (code := await self._call.code()) is grpc.StatusCode.OK:
                return None
            details, trailing = await self._call.details(), await self._call.trailing_metadata()
        except aio.AioRpcError as error:
            raise _mapped(error, self._connection) from error
        except asyncio.CancelledError:
            raise self._cancelled() from None
        raise _failure(code, details or "", _metadata(trailing), self._connection)

    async def trailing_metadata(self) -> Metadata:
        """What the backend sends after its last message. Waits for the end of the call."""
        return _metadata(await self._call.trailing_metadata())

    def cancel(self) -> None:
        """Ends the call at the backend too. Does nothing to one that has ended."""
        self._call.cancel()

    def _cancelled(self) -> BaseException:
        """grpcio lets those who wait for a call that is cancelled believe that they are cancelled themselves."""
        return (
            asyncio.CancelledError()
            if _was_cancelled_from_outside()
            else ConnectionBrokenError("the call was cancelled")
        )


class GrpcTransport:
    """Channels to the endpoints of one upstream. Must be made and used on one event loop, and closed."""

    def __init__(
        self, tls: TlsConfig | None, *, connect_timeout_s: float = 2.0, max_message_bytes: int | None = None
    ) -> None:
        """`max_message_bytes` bounds each message received; None is no bound. Raises `ValueError` for TLS settings
        that cannot be used."""
        self._credentials = _credentials(tls or TlsConfig())
        self._options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", -1 if max_message_bytes is None else max_message_bytes),
            # Despite its name, also what an attempt to connect may take.
            ("grpc.min_reconnect_backoff_ms", round(connect_timeout_s * 1000)),
        )
        self._connections: dict[tuple[str, bool, str | None], _Connection] = {}
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
        """Calls `/package.Service/Method` at `host:port`. Cancelling the caller cancels the call at the backend.

        `server_name` replaces the host of the address as authority and, with TLS, as the name that the certificate
        must carry. Raises `GrpcStatusError`, `ConnectError` if the backend has done nothing, `ConnectionBrokenError`,
        and `ValueError` for metadata that cannot be sent.
        """
        connection = self._connection(address, is_secure, server_name)
        self._active_calls += 1
        try:
            method_call: aio.UnaryUnaryMultiCallable[bytes, bytes] = connection.channel.unary_unary(method)
            call = method_call(message, metadata=_to_send(metadata), timeout=_clamped(timeout_s))
            answer = await call
            initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
            return GrpcAnswer(bytes(answer), _metadata(initial), _metadata(trailing))
        except aio.AioRpcError as error:
            raise _mapped(error, connection) from error
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
        connection = self._connection(address, is_secure, server_name)
        call: aio.StreamStreamCall[bytes, bytes] = connection.channel.stream_stream(method)(
            metadata=aio.Metadata(*metadata), timeout=_clamped(timeout_s)
        )
        self._active_calls += 1
        call.add_done_callback(lambda _: self._call_ended())
        return GrpcStream(call, connection)

    def _connection(self, address: str, is_secure: bool, server_name: str | None) -> _Connection:
        if self._is_closed:
            raise ConnectError("the upstream is no longer configured")
        key = (address, is_secure, server_name)
        connection = self._connections.get(key)
        if connection is None:
            channel = self._make_channel(address, is_secure, server_name)
            connection = self._connections[key] = _Connection(channel, address)
        return connection

    def _make_channel(self, address: str, is_secure: bool, server_name: str | None) -> aio.Channel:
        options: list[tuple[str, int | str]] = [*self._options]
        if server_name is not None:
            options.append(("grpc.default_authority", server_name))
            if is_secure:
                options.append(("grpc.ssl_target_name_override", server_name))
        if is_secure:
            return aio.secure_channel(_target(address), self._credentials, options=options)
        return aio.insecure_channel(_target(address), options=options)

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
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            await connection.channel.close()


def _credentials(tls: TlsConfig) -> grpc.ChannelCredentials:
    if not tls.verify:
        raise ValueError("insecure_skip_verify is not possible with protocol GRPC")
    client_context(tls)  # tells what is wrong with the PEM texts, which grpcio does not
    chain, key = split_certificate(tls.client_certificate.reveal()) if tls.client_certificate else (None, None)
    return grpc.ssl_channel_credentials(
        root_certificates=system_trust() if tls.ca_pem is None else tls.ca_pem.encode(),
        private_key=key,
        certificate_chain=chain,
    )


def _clamped(timeout_s: float | None) -> float | None:
    """grpcio takes a time of centuries for one that is over."""
    return None if timeout_s is None else min(timeout_s, _LONGEST_S)


def _target(address: str) -> str:
    """The address in grpcio's terms: IP addresses are not to be looked up."""
    if address.startswith("["):
        return f"ipv6:{address}"
    is_ip = address.rpartition(":")[0].replace(".", "").isdigit()
    return f"ipv4:{address}" if is_ip else f"dns:{address}"


def _to_send(metadata: Metadata) -> aio.Metadata:
    """Raises `ValueError` for what grpcio would choke on."""
    for name, value in metadata:
        if not _METADATA_NAME.fullmatch(name) or (isinstance(value, str) and not _METADATA_TEXT.fullmatch(value)):
            raise ValueError(f"metadata {name!r} cannot be sent")
    return aio.Metadata(*metadata)


def _metadata(received: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    return tuple((name, value) for name, value in received or ())


def _mapped(error: aio.AioRpcError, connection: _Connection) -> Exception:
    return _failure(error.code(), error.details() or "", _metadata(error.trailing_metadata()), connection)


def _failure(code: grpc.StatusCode, details: str, trailing: Metadata, connection: _Connection) -> Exception:
    """Tells failures of the connection from what a backend says itself."""
    if code is grpc.StatusCode.UNAVAILABLE and connection.lacked(details):
        return ConnectError(_not_connected_reason(details))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(details) and not trailing:
        return AnswerTooLargeError("a message of the backend is too large")
    if _BROKEN.match(details) and not trailing:
        if _REFUSED_STREAM.search(details):
            return ConnectError("the backend refused the stream")
        return ConnectionBrokenError("the connection broke or was reset")
    return GrpcStatusError(code.name, details, trailing)


def _not_connected_reason(details: str) -> str:
    """The fault in a few words, without the addresses that grpcio puts around it."""
    words = details.lower()
    known = (
        "connection refused",
        "connection reset",
        "certificate",
        "verification",
        "handshake",
        "timed out",
        "resolv",
    )
    match next((each for each in (*known, "parsing http/2") if each in words), None):
        case "certificate" | "verification" | "handshake":
            return "tls failed: the certificate was not accepted, or there was no handshake"
        case "timed out":
            return "connection timed out"
        case "resolv":
            return "host name cannot be resolved"
        case "parsing http/2":
            return "the backend does not speak gRPC"
        case None:
            return "no connection"
        case reason:
            return reason


def _was_cancelled_from_outside() -> bool:
    """Whether this task is being cancelled, as opposed to a call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
