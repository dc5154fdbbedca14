"""The gRPC listener's server: options, health, reflection, drain."""

import asyncio
import socket

import structlog
from grpc import aio
from grpc_health.v1.health_pb2 import DESCRIPTOR as HEALTH
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from janua.inference.v1 import inference_service_pb2, inference_service_pb2_grpc

from gateway.listeners.grpc import InferenceServicer
from gateway.listeners.grpc_proxy import GrpcProxyHandler
from gateway.listeners.health import HealthServicer
from gateway.listeners.hypercorn import ListenError, listen_error_text
from gateway.listeners.open_inference_grpc import OpenInferenceServicer
from gateway.schemas.open_inference_paths import GRPC_SERVICE

_SERVICE = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
_HEALTH_SERVICE = HEALTH.services_by_name["Health"].full_name


_WATCH_S = 0.1
# Where the address is not to be had again at once.
_RETRY_S = 0.5

_log = structlog.get_logger("janua.grpc")


class GrpcServer:
    """Serves inference, health and reflection, and passes other methods through. Start it once, drain it once.

    grpcio ends a server for good at a call whose path is not UTF-8. `watch` puts another in its place.
    """

    def __init__(
        self,
        servicer: InferenceServicer,
        open_inference: OpenInferenceServicer,
        proxy: GrpcProxyHandler,
        *,
        max_message_bytes: int,
    ) -> None:
        self._health = HealthServicer(_SERVICE, GRPC_SERVICE)
        self._servicer = servicer
        self._open_inference = open_inference
        self._proxy = proxy
        self._max_message_bytes = max_message_bytes
        self._authority = ""
        self._is_draining = False
        self._server = self._make_server()

    def _make_server(self) -> aio.Server:
        server = aio.server(
            options=[
                # grpcio would silently share a port that is in use.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Under load the default sheds calls that could be served.
                ("grpc.server.max_pending_requests", 20_000),
                ("grpc.server.max_pending_requests_hard_limit", 40_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(self._servicer, server)
        add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers((self._open_inference.handler,))
        names = (_SERVICE, GRPC_SERVICE, _HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        # The last: it takes every method that nobody else does.
        server.add_generic_rpc_handlers((self._proxy,))
        return server

    def bind(self, host: str, port: int) -> int:
        """Binds and gives the port. Raises `ListenError` with what to do."""
        _probe(host, port)
        name = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{name}:{port}")
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {name}:{port} for gRPC: {error}") from error
        self._authority = f"{name}:{bound}"
        return bound

    async def start(self) -> None:
        """Takes calls from now on."""
        await self._server.start()

    async def watch(self) -> None:
        """Replaces a server that ends by itself, on the same address; returns when it has been drained."""
        while not self._is_draining:
            await asyncio.sleep(_WATCH_S)
            if self._is_draining or _is_running(self._server):
                continue
            _log.error("the gRPC server has ended by itself; another takes its place", address=self._authority)
            self._server = await self._replacement()

    async def _replacement(self) -> aio.Server:
        while True:
            server = self._make_server()
            try:
                server.add_insecure_port(self._authority)
            except RuntimeError as error:
                _log.error("the gRPC address is not to be had", address=self._authority, error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            await server.start()
            return server

    def set_serving(self, *, serving: bool) -> None:
        """Tells health checks whether this node takes traffic. Until then it does not."""
        self._health.set_serving(serving=serving)

    async def drain(self, timeout_s: float) -> None:
        """Refuses new calls, finishes those that run for up to the timeout, cancels the rest."""
        self._is_draining = True
        self._health.end_watches()
        await self._server.stop(timeout_s)


def _is_running(server: aio.Server) -> bool:
    """grpcio knows it, but tells it in no public way: `wait_for_termination` goes on waiting."""
    is_running: bool = server._server.is_running()  # type: ignore[attr-defined]
    return is_running


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
