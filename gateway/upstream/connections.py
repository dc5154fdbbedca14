"""The connections of one upstream, of the kind that its endpoints speak."""

from gateway.config.upstream import UpstreamConfig, UpstreamProtocol
from gateway.errors import InvalidRequestError
from gateway.transport.grpc import GrpcTransport
from gateway.transport.http import HttpTransport
from gateway.transport.http2 import Http2Transport
from gateway.transport.messages import HttpSender
from gateway.transport.tls import HTTP2_ALPN, client_context

# Somebody has to hold a message until its end comes.
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Connections:
    """A pool of connections to all endpoints of an upstream. Must be made on the event loop, and closed.

    Raises `ValueError` for TLS settings that cannot be used.
    """

    def __init__(self, config: UpstreamConfig) -> None:
        self._name = config.name
        self._settings = _settings(config)
        self._http: HttpTransport | Http2Transport | None = None
        self._grpc: GrpcTransport | None = None
        if config.protocol is UpstreamProtocol.GRPC:
            self._grpc = GrpcTransport(
                config.tls, connect_timeout_s=config.connect_timeout_s, max_message_bytes=_MAX_MESSAGE_BYTES
            )
        elif config.protocol is UpstreamProtocol.HTTP2:
            context = client_context(config.tls, alpn=HTTP2_ALPN)
            self._http = Http2Transport(idle_timeout_s=config.idle_timeout_s, ssl_context=context)
        else:
            own = client_context(config.tls) if config.tls is not None else None
            self._http = HttpTransport(
                idle_timeout_s=config.idle_timeout_s, ssl_context=own, proxy=config.egress_proxy or None
            )

    def suit(self, config: UpstreamConfig) -> bool:
        """Whether these connections can serve that configuration too."""
        return _settings(config) == self._settings

    @property
    def speaks_grpc(self) -> bool:
        """Whether gRPC is spoken, as opposed to HTTP."""
        return self._grpc is not None

    @property
    def http(self) -> HttpSender:
        """HTTP of either version. Raises `InvalidRequestError` where gRPC is spoken."""
        if self._http is None:
            raise InvalidRequestError(f"upstream {self._name} speaks gRPC, not HTTP", reason="UNSUPPORTED_BY_SERVICE")
        return self._http

    @property
    def websockets(self) -> HttpTransport:
        """What opens WebSockets: HTTP/1.1. Raises `InvalidRequestError` where something else is spoken."""
        if not isinstance(self._http, HttpTransport):
            text = f"upstream {self._name} does not speak HTTP/1.1, which WebSockets need"
            raise InvalidRequestError(text, reason="UNSUPPORTED_BY_SERVICE")
        return self._http

    @property
    def grpc(self) -> GrpcTransport:
        """gRPC. Raises `InvalidRequestError` where HTTP is spoken."""
        if self._grpc is None:
            raise InvalidRequestError(f"upstream {self._name} speaks HTTP, not gRPC", reason="UNSUPPORTED_BY_SERVICE")
        return self._grpc

    async def close_when_idle(self) -> None:
        """Waits until nothing is in flight, then closes."""
        await (self._http or self.grpc).close_when_idle()

    async def close(self) -> None:
        """Closes all connections."""
        await (self._http or self.grpc).close()


def _settings(config: UpstreamConfig) -> tuple[object, ...]:
    of_grpc = config.connect_timeout_s if config.protocol is UpstreamProtocol.GRPC else None
    return config.protocol, config.tls, config.idle_timeout_s, of_grpc, config.egress_proxy
