"""Which resources a resource names. A reference always goes from the user of a thing to the thing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.resource_pb2 import KIND_POLICY, KIND_SECRET, KIND_SERVICE, KIND_UPSTREAM
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import Upstream

from janua_resources.kinds import ConfigMessage, KindInfo, kind_info

_POLICY: Final = kind_info(KIND_POLICY)
_SECRET: Final = kind_info(KIND_SECRET)
_SERVICE: Final = kind_info(KIND_SERVICE)
_UPSTREAM: Final = kind_info(KIND_UPSTREAM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name in a resource: the path of the field it stands in, and what it names. `is_late`: who names it can be in
    use before it, which comes later in make-before-break order."""

    field: str
    kind: KindInfo
    name: str
    is_late: bool = False


def references(message: ConfigMessage) -> tuple[Reference, ...]:
    """What `message` names, in the order of its fields. A name that occurs twice is listed twice."""
    match message:
        case Route():
            return tuple(_of_route(message))
        case Service():
            return tuple(_of_service(message))
        case Upstream():
            return tuple(_of_upstream(message))
        case Consumer():
            return tuple(_policies(message.policies))
        case Policy():
            return tuple(_of_policy(message))
        case Secret():
            return ()
        case _:
            assert_never(message)


def _of_route(route: Route) -> Iterator[Reference]:
    for index, backend in enumerate(route.backends):
        yield Reference(field=f"backends[{index}].service", kind=_SERVICE, name=backend.service)
    if route.HasField("mirror"):
        yield Reference(field="mirror.service", kind=_SERVICE, name=route.mirror.service)
    yield from _policies(route.policies)


def _policies(names: Iterable[str]) -> Iterator[Reference]:
    for index, name in enumerate(names):
        yield Reference(field=f"policies[{index}]", kind=_POLICY, name=name)


def _of_policy(policy: Policy) -> Iterator[Reference]:
    if policy.cache.HasField("semantic"):
        name = policy.cache.semantic.service
        yield Reference(field="cache.semantic.service", kind=_SERVICE, name=name, is_late=True)


def _of_upstream(upstream: Upstream) -> Iterator[Reference]:
    if upstream.tls.HasField("client_certificate"):
        name = upstream.tls.client_certificate.secret
        yield Reference(field="tls.client_certificate.secret", kind=_SECRET, name=name)


def _of_service(service: Service) -> Iterator[Reference]:
    if service.HasField("upstream_service"):
        name = service.upstream_service.upstream
        yield Reference(field="upstream_service.upstream", kind=_UPSTREAM, name=name)
    elif service.HasField("proxy_service"):
        for index, credential in enumerate(service.proxy_service.credentials):
            field = f"proxy_service.credentials[{index}].secret"
            yield Reference(field=field, kind=_SECRET, name=credential.secret)
    yield from _policies(service.policies)
