"""`Upstream` messages to values."""

from collections.abc import Callable

from janua.config.v1 import upstream_pb2
from janua_resources.addresses import parse_address

from gateway.compile.balancing import compile_balancing
from gateway.compile.durations import seconds
from gateway.compile.health import compile_circuit_breakers, compile_health_check, compile_outlier_detection
from gateway.compile.node_files import FileUnreadableError
from gateway.config.upstream import EndpointConfig, EndpointState, TlsConfig, UpstreamConfig, UpstreamProtocol

_STATES = {
    upstream_pb2.Endpoint.STATE_UNSPECIFIED: EndpointState.ACTIVE,
    upstream_pb2.Endpoint.STATE_ACTIVE: EndpointState.ACTIVE,
    upstream_pb2.Endpoint.STATE_DRAINING: EndpointState.DRAINING,
    upstream_pb2.Endpoint.STATE_DISABLED: EndpointState.DISABLED,
}
_PROTOCOLS = {
    upstream_pb2.PROTOCOL_UNSPECIFIED: UpstreamProtocol.HTTP1,
    upstream_pb2.PROTOCOL_HTTP1: UpstreamProtocol.HTTP1,
    upstream_pb2.PROTOCOL_HTTP2: UpstreamProtocol.HTTP2,
    upstream_pb2.PROTOCOL_GRPC: UpstreamProtocol.GRPC,
}


def compile_upstream(message: upstream_pb2.Upstream, read_file: Callable[[str], str]) -> UpstreamConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with.

    Raises `FileUnreadableError` for a file of certificates that this node cannot read.
    """
    pool = message.connection_pool
    has_tls = message.HasField("tls")
    return UpstreamConfig(
        name=message.name,
        endpoints=tuple(_endpoint(endpoint, has_tls=has_tls) for endpoint in message.endpoints),
        protocol=_PROTOCOLS[message.protocol],
        tls=_tls(message.tls, read_file) if has_tls else None,
        dns_refresh_s=seconds(message.dns, "refresh_interval", 30.0) if message.HasField("dns") else None,
        connect_timeout_s=seconds(pool, "connect_timeout", 2.0),
        idle_timeout_s=seconds(pool, "idle_timeout", 60.0),
        max_connections_per_endpoint=pool.max_connections_per_endpoint
        if pool.HasField("max_connections_per_endpoint")
        else None,
        balancing=compile_balancing(message.load_balancing),
        health_checks=tuple(compile_health_check(check) for check in message.health_checks),
        outlier_detection=compile_outlier_detection(message.outlier_detection)
        if message.HasField("outlier_detection")
        else None,
        circuit_breakers=compile_circuit_breakers(message.circuit_breakers),
    )


def _endpoint(message: upstream_pb2.Endpoint, *, has_tls: bool) -> EndpointConfig:
    address = message.address
    if has_tls and "://" not in address:
        address = f"https://{address}"
    return EndpointConfig(
        address=message.address,
        url=str(parse_address(address)),
        weight=message.weight if message.HasField("weight") else 1,
        priority=message.priority,
        state=_STATES[message.state],
    )


def _tls(message: upstream_pb2.Tls, read_file: Callable[[str], str]) -> TlsConfig:
    return TlsConfig(
        ca_pem=_read_ca(message.ca.file, read_file) if message.HasField("ca") else None,
        client_secret=message.client_certificate.secret or None,
        server_name=message.server_name or None,
        verify=not message.insecure_skip_verify,
    )


def _read_ca(path: str, read_file: Callable[[str], str]) -> str:
    try:
        return read_file(path)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise FileUnreadableError("tls.ca.file", f"file {path}: {reason}") from None
    except UnicodeDecodeError:
        raise FileUnreadableError("tls.ca.file", f"file {path} is not text") from None
