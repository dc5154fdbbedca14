"""The gRPC server: its options, the services beside our own, and how it stops."""

from collections.abc import Sequence
from typing import Final, Protocol

from grpc import ServerCredentials, aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from janua.config.v1 import config_service_pb2, node_service_pb2
from janua.discovery.v3 import csds_pb2

from config_server.client_status import ClientStatusService
from config_server.config_service import ConfigService
from config_server.discovery import SERVICE_NAME as DISCOVERY
from config_server.discovery import DiscoveryService
from config_server.listen_address import ListenAddress, ListenError
from config_server.node_service import NodeService
from config_server.rpc import service_handler

# Room for a batch that is too large, so that it is refused in our words and not by a bare limit of the transport.
_MAX_RECEIVED_BYTES: Final = 32 * 1024 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # The defaults shed streams when a whole fleet connects at once.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    # Idle streams are kept alive from both sides: the server finds nodes that are gone, and lets nodes ping it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it a ping that nobody answers is waited for much longer than the line above says.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_CONFIG: Final = config_service_pb2.DESCRIPTOR.services_by_name["ConfigService"]
_NODE: Final = node_service_pb2.DESCRIPTOR.services_by_name["NodeService"]
_CLIENT_STATUS: Final = csds_pb2.DESCRIPTOR.services_by_name["ClientStatusDiscoveryService"]
_OURS: Final[Sequence[str]] = (_CONFIG.full_name, _NODE.full_name, DISCOVERY, _CLIENT_STATUS.full_name)


class Closable(Protocol):
    """Something that ends what waits on it."""

    def close(self) -> None: ...


class ConfigServer:
    """Serves from `start` to `drain`."""

    def __init__(
        self,
        *,
        config: ConfigService,
        node: NodeService,
        discovery: DiscoveryService,
        client_status: ClientStatusService,
        watches: Closable,
        guards: Sequence[aio.ServerInterceptor] = (),
    ) -> None:
        """`watches` is closed by a drain to end the streams that would never end by themselves."""
        self._discovery = discovery
        self._watches = watches
        self._health = health.aio.HealthServicer()
        self._server = aio.server(options=_OPTIONS, interceptors=guards)
        self._server.add_generic_rpc_handlers(
            (
                service_handler(_CONFIG, config),
                service_handler(_NODE, node),
                service_handler(_CLIENT_STATUS, client_status),
                discovery.handler(),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*_OURS, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, address: ListenAddress, credentials: ServerCredentials | None) -> ListenAddress:
        """Returns the address with the port that was taken. `credentials`: for TLS. Raises ListenError."""
        address.check_free()
        try:
            if credentials is None:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {address}: give --listen another address") from error
        for service in _OURS:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return address.with_port(port)

    async def drain(self, timeout_s: float) -> None:
        """Tells clients to go, ends streams, lets calls finish, for at most `timeout_s`."""
        await self._health.enter_graceful_shutdown()
        self._discovery.drain()
        self._watches.close()
        await self._server.stop(timeout_s)
