"""The standard gRPC health check."""

from gateway.config.upstream import GrpcProbe
from gateway.schemas.readiness import HEALTH_METHOD, HEALTH_STATUSES, decode_number, encode_name
from gateway.transport.grpc import GrpcStatusError
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint

_SERVING = HEALTH_STATUSES.index("SERVING")


class GrpcCheck:
    """Whether `grpc.health.v1` says SERVING."""

    def __init__(self, probe: GrpcProbe, endpoint: Endpoint, connections: Connections) -> None:
        self.name = f"grpc health of {probe.service_name}" if probe.service_name else "grpc health"
        self._request = encode_name(probe.service_name)
        self._endpoint = endpoint
        self._connections = connections

    async def ask(self, timeout_s: float) -> str | None:
        """One call."""
        number = await ask_number(self._connections, self._endpoint, HEALTH_METHOD, self._request, timeout_s)
        if isinstance(number, str):
            return number
        if number == _SERVING:
            return None
        return HEALTH_STATUSES[number] if number < len(HEALTH_STATUSES) else f"status {number}"


async def ask_number(
    connections: Connections, endpoint: Endpoint, method: str, request: bytes, timeout_s: float
) -> int | str:
    """The number that a readiness call is answered with, or what was wrong."""
    try:
        answer = await connections.grpc.unary(
            endpoint.connect_address,
            method,
            request,
            is_secure=endpoint.is_secure,
            server_name=endpoint.server_name,
            metadata=(),
            timeout_s=timeout_s,
        )
        return decode_number(answer.message)
    except GrpcStatusError as error:
        return error.code if not error.details else f"{error.code}, {error.details}"
    except ValueError as error:
        return str(error)
