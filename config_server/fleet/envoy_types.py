"""Types of Envoy's resources in which gateway nodes are shown to clients of the xDS protocols."""

from typing import Final

from google.protobuf.message import Message
from janua.discovery.v3.cluster_pb2 import Cluster
from janua.discovery.v3.endpoint_pb2 import ClusterLoadAssignment
from janua.discovery.v3.listener_pb2 import Listener
from janua.discovery.v3.route_configuration_pb2 import RouteConfiguration


def type_url(message: type[Message]) -> str:
    """The name by which discovery knows a type."""
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


CLUSTERS: Final = type_url(Cluster)
ENDPOINTS: Final = type_url(ClusterLoadAssignment)
LISTENERS: Final = type_url(Listener)
ROUTES: Final = type_url(RouteConfiguration)

# Make before break: what is named stands before what names it.
ENVOY_TYPES: Final = (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)

# A listener without a port is one for clients of gRPC, which ask for it by name; Envoy, which asks for all, would
# refuse it. Routes and endpoints are found by the names that listeners and clusters have for them.
BY_NAME_ONLY: Final = frozenset({LISTENERS, ROUTES, ENDPOINTS})
