"""What resources must agree on: references, unique matches and keys, secrets and where they go, retries and timeouts,
protocols.

Pure functions of the whole configuration, linear in its size. Of a change only what it may break is looked at.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.resource_pb2 import KIND_POLICY, KIND_ROUTE, KIND_SECRET, KIND_SERVICE, KIND_UPSTREAM
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import SCHEMA_OPENAI, SCHEMA_UNSPECIFIED, Service
from janua.config.v1.upstream_pb2 import PROTOCOL_GRPC, Upstream

from janua_resources.durations import format_duration
from janua_resources.egress import base_address, is_allowed
from janua_resources.kinds import KINDS, ConfigMessage, Key, World
from janua_resources.policy_rules import ONLY_ONE, misplaced
from janua_resources.quoting import quoted
from janua_resources.references import references
from janua_resources.retry_rules import DEFAULT_REQUEST_TIMEOUT, outlasts
from janua_resources.route_match import MatchKey, match_key, rough_key
from janua_resources.service_rules import has_embeddings
from janua_resources.surfaces import is_inference_service
from janua_resources.violations import (
    CONFLICTING_MATCH,
    DUPLICATE,
    SECRET_HOST_NOT_ALLOWED,
    UNRESOLVED_REFERENCE,
    Violation,
    violation,
)
from janua_resources.world_warnings import warnings

__all__ = ["check_world", "warnings"]

_T = TypeVar("_T", bound=ConfigMessage)

# A changed resource of these kinds may make a resource that names it wrong; others only by being gone.
_SEEN_INTO: Final = frozenset({KIND_POLICY, KIND_SECRET, KIND_SERVICE, KIND_UPSTREAM})

_NOTHING: Final[World] = MappingProxyType({})

_ORDER: Final = MappingProxyType({info.kind: position for position, info in enumerate(KINDS)})


def check_world(messages: World, changed: Collection[Key] | None = None, before: World = _NOTHING) -> list[Violation]:
    """What is wrong among `messages`, the whole configuration, each right in itself.

    With `changed`, the keys that were added, changed or removed since a configuration that was right, only these,
    the resources that name them and the routes of these are looked at. Of two resources that exclude each other the
    one looked at is reported, naming the other. `before`: that configuration; routes that match what they did there
    are not compared with all others again.
    """
    examined = tuple(messages.values()) if changed is None else _affected(messages, changed)
    routes, services = _of_type(examined, Route), _of_type(examined, Service)
    consumers = _of_type(examined, Consumer)
    return [
        *_dangling_references(messages, examined),
        *_conflicting_matches(messages, [route for route in routes if not _matches_as_in(before, route)]),
        *_shared_keys(messages, consumers),
        *_shared_names(messages, consumers, "jwt_subjects", "a subject"),
        *_shared_names(messages, consumers, "certificate_names", "a name"),
        *_misdirected_secrets(messages, services),
        *_misplaced_policies(messages, examined),
        *_repeated_policies(messages, examined),
        *_outlasting_retries(messages, routes),
        *_unspoken_schemas(messages, services),
        *_unspoken_calls(messages, routes),
        *_unasked_vectors(messages, _of_type(examined, Policy)),
    ]


def _affected(messages: World, changed: Collection[Key]) -> tuple[ConfigMessage, ...]:
    """What is changed and still there, and what names a key whose change may break it; in make-before-break order."""
    breaking = {key for key in changed if key not in messages or key[0] in _SEEN_INTO}
    affected = {key for key in changed if key in messages}
    users = _users(messages, breaking)
    # A route looks through its services at their upstreams.
    services = {key for key in users if key[0] == KIND_SERVICE}
    affected |= users | _users(messages, services)
    return tuple(messages[key] for key in sorted(affected, key=lambda key: (_ORDER[key[0]], key[1])))


def _users(messages: World, named: Collection[Key]) -> set[Key]:
    if not named:
        return set()
    return {
        key
        for key, message in messages.items()
        if any((reference.kind.kind, reference.name) in named for reference in references(message))
    }


def _of_type(messages: Iterable[ConfigMessage], kind: type[_T]) -> list[_T]:
    return [message for message in messages if isinstance(message, kind)]


def _dangling_references(messages: World, examined: Iterable[ConfigMessage]) -> Iterator[Violation]:
    for message in examined:
        for reference in references(message):
            if (reference.kind.kind, reference.name) not in messages:
                text = f"{reference.kind.field} {quoted(reference.name)} does not exist"
                yield violation(message, reference.field, text, UNRESOLVED_REFERENCE)


def _misplaced_policies(messages: World, examined: Iterable[ConfigMessage]) -> Iterator[Violation]:
    for message in examined:
        for reference in references(message):
            policy = messages.get((KIND_POLICY, reference.name)) if reference.kind.kind == KIND_POLICY else None
            if isinstance(policy, Policy) and (text := misplaced(policy, message)) is not None:
                yield violation(message, reference.field, text)


def _repeated_policies(messages: World, examined: Iterable[ConfigMessage]) -> Iterator[Violation]:
    for message in examined:
        first: dict[str, str] = {}
        for reference in references(message):
            policy = messages.get((KIND_POLICY, reference.name)) if reference.kind.kind == KIND_POLICY else None
            kind = policy.WhichOneof("spec") if isinstance(policy, Policy) else None
            if kind in ONLY_ONE and first.setdefault(kind, reference.name) != reference.name:
                text = f"policy {quoted(first[kind])} is of kind {kind} too, of which there can be one only"
                yield violation(message, reference.field, text)


def _matches_as_in(before: World, route: Route) -> bool:
    other = before.get((KIND_ROUTE, route.name))
    return isinstance(other, Route) and other.priority == route.priority and other.match == route.match


def _conflicting_matches(messages: World, routes: Sequence[Route]) -> Iterator[Violation]:
    wanted = {rough_key(route) for route in routes}
    if not wanted:
        return
    groups: defaultdict[MatchKey, list[Route]] = defaultdict(list)
    for route in _of_type(messages.values(), Route):
        key = rough_key(route)
        if key in wanted:
            groups[key].append(route)
    examined = {route.name for route in routes}
    for group in groups.values():
        if len(group) > 1:
            yield from _same_matches(group, examined)


def _same_matches(routes: Iterable[Route], examined: Collection[str]) -> Iterator[Violation]:
    groups: defaultdict[MatchKey, list[Route]] = defaultdict(list)
    for route in routes:
        groups[match_key(route)].append(route)
    for group in groups.values():
        names = [route.name for route in group]
        for route in group:
            other = _other(names, route.name)
            if other is not None and route.name in examined:
                text = f"route {quoted(other)} has the same match and priority {route.priority}"
                yield violation(route, "match", text, CONFLICTING_MATCH)


def _shared_keys(messages: World, consumers: Sequence[Consumer]) -> Iterator[Violation]:
    wanted = {key.key_sha256 for consumer in consumers for key in consumer.api_keys}
    if not wanted:
        return
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for consumer in _of_type(messages.values(), Consumer):
        for key in consumer.api_keys:
            if key.key_sha256 in wanted:
                owners[key.key_sha256].append(consumer.name)
    for consumer in consumers:
        for index, key in enumerate(consumer.api_keys):
            other = _other(owners[key.key_sha256], consumer.name)
            if other is not None:
                field = f"api_keys[{index}].key_sha256"
                yield violation(consumer, field, f"is a key of consumer {quoted(other)} too", DUPLICATE)


def _shared_names(messages: World, consumers: Sequence[Consumer], field: str, what: str) -> Iterator[Violation]:
    """Texts that must be those of one consumer alone, of which each has a list."""
    wanted = {name for consumer in consumers for name in getattr(consumer, field)}
    if not wanted:
        return
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for consumer in _of_type(messages.values(), Consumer):
        for name in wanted.intersection(getattr(consumer, field)):
            owners[name].append(consumer.name)
    for consumer in consumers:
        for index, name in enumerate(getattr(consumer, field)):
            other = _other(owners[name], consumer.name)
            if other is not None:
                text = f"is {what} of consumer {quoted(other)} too"
                yield violation(consumer, f"{field}[{index}]", text, DUPLICATE)


def _other(names: Iterable[str], name: str) -> str | None:
    return next((other for other in names if other != name), None)


def _misdirected_secrets(messages: World, services: Iterable[Service]) -> Iterator[Violation]:
    for service in services:
        for credential in service.proxy_service.credentials:
            secret = messages.get((KIND_SECRET, credential.secret))
            if isinstance(secret, Secret):
                yield from _misdirected(secret, service)


def _misdirected(secret: Secret, service: Service) -> Iterator[Violation]:
    try:
        address = base_address(service.proxy_service)
        allowed = is_allowed(secret, service.proxy_service)
    except ValueError:
        return  # the service's own rules report it
    if not allowed:
        text = f"secret {quoted(secret.name)} may not be sent to {address.host!r}; see its allowed_hosts"
        yield violation(service, "proxy_service.base_url", text, SECRET_HOST_NOT_ALLOWED)


def _unspoken_schemas(messages: World, services: Iterable[Service]) -> Iterator[Violation]:
    """Services whose schema is not what their upstream's protocol can carry."""
    for service in services:
        upstream = messages.get((KIND_UPSTREAM, service.upstream_service.upstream))
        if not isinstance(upstream, Upstream) or upstream.protocol != PROTOCOL_GRPC:
            continue
        if service.upstream_service.schema in (SCHEMA_UNSPECIFIED, SCHEMA_OPENAI):
            text = f"OPENAI is spoken over HTTP, but upstream {quoted(upstream.name)} has protocol GRPC"
            yield violation(service, "upstream_service.schema", text)


def _unspoken_calls(messages: World, routes: Iterable[Route]) -> Iterator[Violation]:
    """Services that speak HTTP, where a route has gRPC calls passed through to them."""
    for route in routes:
        if not route.match.HasField("grpc") or is_inference_service(route.match.grpc.service):
            continue
        for reference in references(route):
            service = messages.get((KIND_SERVICE, reference.name))
            if reference.kind.kind == KIND_SERVICE and isinstance(service, Service) and _speaks_http(messages, service):
                text = f"{quoted(service.name)} speaks HTTP; match.grpc needs services whose upstream has protocol GRPC"
                yield violation(route, reference.field, text)


def _speaks_http(messages: World, service: Service) -> bool:
    """Whether it is known that the service does not speak gRPC."""
    if service.HasField("proxy_service"):
        return True
    upstream = messages.get((KIND_UPSTREAM, service.upstream_service.upstream))
    return isinstance(upstream, Upstream) and upstream.protocol != PROTOCOL_GRPC


def _unasked_vectors(messages: World, policies: Iterable[Policy]) -> Iterator[Violation]:
    """Policies that want vectors of services that have none."""
    for policy in policies:
        service = messages.get((KIND_SERVICE, policy.cache.semantic.service))
        if isinstance(service, Service) and not has_embeddings(service):
            text = f"service {quoted(service.name)} has no embeddings"
            yield violation(policy, "cache.semantic.service", text)


def _outlasting_retries(messages: World, routes: Iterable[Route]) -> Iterator[Violation]:
    for route in routes:
        for index, backend in enumerate(route.backends):
            service = messages.get((KIND_SERVICE, backend.service))
            if isinstance(service, Service):
                yield from _outlasting(route, service, index)


def _outlasting(route: Route, service: Service, index: int) -> Iterator[Violation]:
    """The attempt of one resource against the request timeout of the other, or the default one.

    Where both stand in one resource its own rules have compared them.
    """
    own_try = route.HasField("retry_policy")
    own_limit, its_limit = route.timeouts.HasField("request"), service.timeouts.HasField("request")
    if own_limit:
        field, limit, compared = "timeouts.request", route.timeouts.request, own_try
    elif its_limit:
        field, limit, compared = f"backends[{index}].service", service.timeouts.request, not own_try
    else:
        field, limit, compared = f"backends[{index}].service", DEFAULT_REQUEST_TIMEOUT, False
    retry_policy = route.retry_policy if own_try else service.retry_policy
    if not compared and outlasts(retry_policy, limit):
        one_try, request = format_duration(retry_policy.per_try_timeout), format_duration(limit)
        text = f"with service {quoted(service.name)}, one try of {one_try} outlasts the request of {request}"
        yield violation(route, "retry_policy.per_try_timeout" if own_try else field, text)
