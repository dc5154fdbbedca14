"""Which roles may call which method. A method that stands nowhere here may be called by nobody."""

from collections.abc import Mapping
from typing import Final

from config_server.access.principal import Role

_NODES: Final = frozenset({Role.NODE})
_EDITORS: Final = frozenset({Role.ADMIN, Role.EDITOR})
_VIEWERS: Final = _EDITORS | {Role.VIEWER}
_SUBSCRIBERS: Final = _NODES | {Role.CLIENT}
_EVERYBODY: Final = frozenset(Role)

_BY_METHOD: Final[Mapping[str, frozenset[Role]]] = {
    "janua.config.v1.ConfigService/Apply": _EDITORS,  # of secrets: see `apply_plan`
    "janua.config.v1.ConfigService/DeleteResource": _EDITORS,
    "janua.config.v1.ConfigService/Rollback": _EDITORS,
    "janua.config.v1.ConfigService/PromoteCanary": _EDITORS,
    "janua.config.v1.ConfigService/AbortCanary": _EDITORS,
    "janua.config.v1.ConfigService/CreateApiKey": _EDITORS,
    "janua.config.v1.ConfigService/RevokeApiKey": _EDITORS,
    "janua.config.v1.ConfigService/GetResource": _VIEWERS,
    "janua.config.v1.ConfigService/ListResources": _VIEWERS,
    "janua.config.v1.ConfigService/WatchResources": _VIEWERS,
    "janua.config.v1.ConfigService/GetRollout": _VIEWERS,
    "janua.config.v1.ConfigService/WatchRollout": _VIEWERS,
    "janua.config.v1.ConfigService/ListNodes": _VIEWERS,
    "janua.config.v1.ConfigService/WatchNodes": _VIEWERS,
    "janua.config.v1.ConfigService/ListRevisions": _VIEWERS,
    "janua.config.v1.ConfigService/GetRevision": _VIEWERS,
    "janua.config.v1.ConfigService/DiffRevisions": _VIEWERS,
    "janua.config.v1.ConfigService/ListApiKeys": _VIEWERS,
    "janua.config.v1.ConfigService/GetCanary": _VIEWERS,
    "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus": _VIEWERS,
    "envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus": _VIEWERS,
    "janua.config.v1.NodeService/ReportStatus": _NODES,
    "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": _SUBSCRIBERS,
    "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": _SUBSCRIBERS,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _EVERYBODY,
}

# Load balancers and supervisors have no credentials, and learn nothing but that the server is up.
_PUBLIC: Final = "/grpc.health.v1.Health/"


def is_public(method: str) -> bool:
    """Whether `/package.Service/Method` needs no credentials."""
    return method.startswith(_PUBLIC)


def may_read(role: Role) -> bool:
    """Whether somebody of this role may see the configuration and the fleet."""
    return role in _VIEWERS


def may_call(role: Role, method: str) -> bool:
    """Whether somebody of this role may call `/package.Service/Method`."""
    return role in _BY_METHOD.get(method.removeprefix("/"), frozenset())
