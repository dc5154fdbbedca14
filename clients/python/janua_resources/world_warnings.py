"""What works, and probably not as meant. Warnings never keep a configuration from being applied."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Final, assert_never

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_POLICY, KIND_ROUTE
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import Upstream

from janua_resources.addresses import Address, parse_address
from janua_resources.egress import base_address
from janua_resources.kinds import ConfigMessage, World, kind_of
from janua_resources.policy_rules import AUTHENTICATION
from janua_resources.quoting import quoted
from janua_resources.references import references
from janua_resources.settings_without_effect import without_effect
from janua_resources.violations import (
    CLEARTEXT_CREDENTIAL,
    EXPIRED_KEY,
    OPEN_ROUTE,
    UNUSED,
    VERSION_IN_PATH,
    Violation,
    violation,
)

# Nothing names these: they are where requests come in, and who sends them.
_ROOTS: Final = frozenset({KIND_ROUTE, KIND_CONSUMER})


def warnings(messages: World, *, now: datetime) -> list[Violation]:
    """Warnings about the whole configuration. `now`, with its time zone, decides which API keys are expired."""
    used = {(reference.kind.kind, reference.name) for message in messages.values() for reference in references(message)}
    found: list[Violation] = []
    for key, message in messages.items():
        if key[0] not in _ROOTS and key not in used:
            text = f"nothing names this {kind_of(message).field}"
            found.append(violation(message, "", text, UNUSED))
        found.extend(_of_one(messages, message, now))
    return found


def _of_one(messages: World, message: ConfigMessage, now: datetime) -> Iterator[Violation]:
    match message:
        case Route():
            return chain(_open_route(messages, message), without_effect(message))
        case Consumer():
            return _expired_keys(message, now)
        case Service() if message.HasField("proxy_service"):
            return _proxy(message)
        case Upstream():
            return chain(_endpoints(message), without_effect(message))
        case Service() | Policy() | Secret():
            return iter(())
        case _:
            assert_never(message)


def _open_route(messages: World, route: Route) -> Iterator[Violation]:
    policies = [messages.get((KIND_POLICY, name)) for name in route.policies]
    if not any(isinstance(policy, Policy) and policy.WhichOneof("spec") in AUTHENTICATION for policy in policies):
        yield violation(route, "policies", "names no authentication policy: the route is open to all", OPEN_ROUTE)


def _expired_keys(consumer: Consumer, now: datetime) -> Iterator[Violation]:
    for index, key in enumerate(consumer.api_keys):
        # Compared as numbers: a timestamp out of range cannot become a datetime.
        if key.HasField("expires") and key.expires.seconds + key.expires.nanos / 1e9 <= now.timestamp():
            field = f"api_keys[{index}].expires"
            yield violation(consumer, field, f"the key {quoted(key.label)} has expired and is refused", EXPIRED_KEY)


def _proxy(service: Service) -> Iterator[Violation]:
    proxy = service.proxy_service
    field = "proxy_service.base_url"
    try:
        address = base_address(proxy)
    except ValueError:
        return  # the service's own rules report it
    if proxy.credentials and address.scheme == "http" and not address.is_loopback:
        text = f"sends the secret {quoted(proxy.credentials[0].secret)} unencrypted to {quoted(address.host)}; use https://"
        yield violation(service, field, text, CLEARTEXT_CREDENTIAL)
    yield from _version_in_path(service, field, address)


def _endpoints(upstream: Upstream) -> Iterator[Violation]:
    for index, endpoint in enumerate(upstream.endpoints):
        try:
            address = parse_address(endpoint.address)
        except ValueError:
            continue  # the upstream's own rules report it
        yield from _version_in_path(upstream, f"endpoints[{index}].address", address)


def _version_in_path(message: Service | Upstream, field: str, address: Address) -> Iterator[Violation]:
    if address.base_path.endswith("/v1"):
        text = f"ends in /v1, and requests add their own: they would go to {address.base_path}/v1/chat/completions"
        yield violation(message, field, text, VERSION_IN_PATH)
