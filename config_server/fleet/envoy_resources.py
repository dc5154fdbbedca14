"""The gateway nodes as resources of Envoy's: what `xds:///janua` leads to. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value
from janua.discovery.v3.cluster_pb2 import Cluster
from janua.discovery.v3.core_pb2 import (
    V3,
    Address,
    AggregatedConfigSource,
    ConfigSource,
    Http2ProtocolOptions,
    Locality,
    SocketAddress,
)
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from janua.discovery.v3.http_connection_manager_pb2 import HttpConnectionManager, HttpFilter, Rds
from janua.discovery.v3.http_protocol_options_pb2 import HttpProtocolOptions
from janua.discovery.v3.listener_pb2 import ApiListener, Listener
from janua.discovery.v3.route_configuration_pb2 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from janua.discovery.v3.router_pb2 import Router

from config_server.fleet.endpoints import EndpointAddress
from config_server.fleet.envoy_types import type_url
from config_server.resources import digest_of, encode
from config_server.wire import EncodedResource, encode_resource

NAME: Final = "janua"
"""Of all four resources."""

_ADS: Final = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=V3)
_CONNECT_TIMEOUT: Final = Duration(seconds=5)


def fixed_resources() -> Mapping[str, EncodedResource]:
    """By their types, those that are the same whichever nodes there are: cluster, listener, routes."""
    return {type_url(type(message)): _encoded(message) for message in (_cluster(), _listener(), _routes())}


def load_assignment(addresses: Iterable[EndpointAddress]) -> EncodedResource:
    """The endpoints. No address may come twice."""
    endpoints = [
        LbEndpoint(endpoint=Endpoint(address=Address(socket_address=_socket_address(address))))
        for address in sorted(addresses)
    ]
    localities = [
        # All in one place, of whatever weight: clients leave out a place that has none.
        LocalityLbEndpoints(
            locality=Locality(zone=NAME), lb_endpoints=endpoints, load_balancing_weight=UInt32Value(value=1)
        )
    ]
    return _encoded(ClusterLoadAssignment(cluster_name=NAME, endpoints=localities if endpoints else []))


def _socket_address(address: EndpointAddress) -> SocketAddress:
    return SocketAddress(address=address.host, port_value=address.port)


def _cluster() -> Cluster:
    http2 = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )
    return Cluster(
        name=NAME,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=_ADS),
        connect_timeout=_CONNECT_TIMEOUT,
        lb_policy=Cluster.ROUND_ROBIN,
        typed_extension_protocol_options={HttpProtocolOptions.DESCRIPTOR.full_name: _any(http2)},
    )


def _listener() -> Listener:
    router = HttpFilter(name="envoy.filters.http.router", typed_config=_any(Router()))
    manager = HttpConnectionManager(rds=Rds(config_source=_ADS, route_config_name=NAME), http_filters=[router])
    return Listener(name=NAME, api_listener=ApiListener(api_listener=_any(manager)))


def _routes() -> RouteConfiguration:
    route = Route(match=RouteMatch(prefix=""), route=RouteAction(cluster=NAME, timeout=Duration()))
    return RouteConfiguration(name=NAME, virtual_hosts=[VirtualHost(name=NAME, domains=["*"], routes=[route])])


def _any(message: Message) -> Any:
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def _encoded(message: Message) -> EncodedResource:
    body = encode(message)
    return encode_resource(type_url=type_url(type(message)), name=NAME, version=digest_of(body)[:16].hex(), body=body)
