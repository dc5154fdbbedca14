"""The gRPC listener's server: options, health, reflection, drain."""

import socket

import grpc
from grpc import aio
from grpc_health.v1.health_pb2 import DESCRIPTOR as HEALTH
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from gateway.listeners.grpc import SERVICE, InferenceServicer
from gateway.listeners.grpc_proxy import GrpcProxyHandler
from gateway.listeners.health import HealthServicer
from gateway.listeners.hypercorn import ListenError, listen_error_text
from gateway.listeners.open_inference_grpc import OpenInferenceServicer
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from gateway.transport.grpc import FIXED_WINDOW

_HEALTH_SERVICE = HEALTH.services_by_name["Health"].full_name


class GrpcServer:
    """Serves inference, health and reflection, and passes other methods through. Start it once, drain it once."""

    def __init__(
        self,
        servicer: InferenceServicer,
        open_inference: OpenInferenceServicer,
        proxy: GrpcProxyHandler,
        *,
        max_message_bytes: int,
        is_port_shared: bool,
    ) -> None:
        """`is_port_shared`: other workers listen on the port too."""
        self._is_port_shared = is_port_shared
        self._health = HealthServicer(SERVICE, GRPC_SERVICE)
        self._server = aio.server(
            options=[
                # Without workers grpcio would silently share a port that is in use.
                ("grpc.so_reuseport", int(is_port_shared)),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Messages are taken as they are: grpcio would unpack one whole before it looks at its size.
                ("grpc.compression_enabled_algorithms_bitset", 1),
                # Under load the default sheds calls that could be served.
                ("grpc.server.max_pending_requests", 20_000),
                ("grpc.server.max_pending_requests_hard_limit", 40_000),
                *FIXED_WINDOW,
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, servicer.handlers),))
        add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((open_inference.handler,))
        names = (SERVICE, GRPC_SERVICE, _HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        # The last: it takes every method that nobody else does.
        self._server.add_generic_rpc_handlers((proxy,))

    def bind(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """Binds and gives the port; `credentials` None: in clear. Raises `ListenError` with what to do."""
        if not self._is_port_shared:
            _probe(host, port)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is not None:
                return self._server.add_secure_port(authority, credentials)
            return self._server.add_insecure_port(authority)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {authority} for gRPC: {error}") from error

    async def start(self) -> None:
        """Takes calls from now on."""
        await self._server.start()

    def set_serving(self, *, serving: bool) -> None:
        """Tells health checks whether this node takes traffic. Until then it does not."""
        self._health.set_serving(serving=serving)

    async def drain(self, timeout_s: float) -> None:
        """Refuses new calls, finishes those that run for up to the timeout, cancels the rest."""
        self._health.end_watches()
        await self._server.stop(timeout_s)


def _probe(host: str, port: int) -> None:
    """Raises `ListenError` for a port that another process listens on."""
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ListenError(listen_error_text(host, port, error)) from error
