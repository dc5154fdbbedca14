"""When a policy makes sense, and what may name it: one function a kind, one line each in the tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, Final

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Authorization, Cache, IpFilter, MtlsAuth, Policy, SizeLimits
from janua.config.v1.route_pb2 import Route
from janua.config.v1.service_pb2 import Service

from janua_resources.certificate_names import pattern_fault
from janua_resources.cors_rules import check_cors
from janua_resources.expressions import check_expression
from janua_resources.guardrail_rules import check_guardrail
from janua_resources.jwt_rules import check_jwt_auth
from janua_resources.kinds import ConfigMessage, kind_of
from janua_resources.limit_rules import check_budget, check_rate_limit, counts_by_service
from janua_resources.quoting import quoted
from janua_resources.transform_rules import check_transform
from janua_resources.violations import Problem

_EVERYWHERE: Final = frozenset({Route, Service, Consumer})
_ON_ROUTES: Final = frozenset({Route})

PLACES: Final[Mapping[str, frozenset[type[ConfigMessage]]]] = MappingProxyType(
    {
        "api_key_auth": _ON_ROUTES,
        "ip_filter": _ON_ROUTES,
        "authorization": _EVERYWHERE,
        "rate_limit": _EVERYWHERE,
        "budget": _EVERYWHERE,
        "jwt_auth": _ON_ROUTES,
        "mtls_auth": _ON_ROUTES,
        "cors": _ON_ROUTES,
        "size_limits": frozenset({Route, Consumer}),
        "cache": _ON_ROUTES,
        "transform": _EVERYWHERE,
        "guardrail": _EVERYWHERE,
    }
)
"""Which kinds of resources may name each kind of policy."""

AUTHENTICATION: Final = frozenset({"api_key_auth", "jwt_auth", "mtls_auth"})
"""The kinds that find out who calls."""

ONLY_ONE: Final = frozenset({"cache", "cors"})
"""The kinds of which a resource may name one policy at most: two would say different things of one answer, or keep it
twice."""


def check_policy(policy: Policy) -> Iterator[Problem]:
    """What is wrong with the meaning of a policy, seen alone."""
    kind = policy.WhichOneof("spec")
    if kind is not None and (check := _CHECKS.get(kind)) is not None:
        yield from check(getattr(policy, kind))


def misplaced(policy: Policy, user: ConfigMessage) -> str | None:
    """Why the policy may not be named there, if it may not."""
    kind = policy.WhichOneof("spec")
    if kind is None:
        return None
    if counts_by_service(policy) and not isinstance(user, Service):
        return f"policy {quoted(policy.name)} counts by SERVICE, which is for services, not for a {kind_of(user).field}"
    if type(user) in PLACES[kind]:
        return None
    places = " and ".join(
        f"{each.DESCRIPTOR.name.lower()}s" for each in (Route, Service, Consumer) if each in PLACES[kind]
    )
    return f"policy {quoted(policy.name)} is of kind {kind}, which is for {places}, not for a {kind_of(user).field}"


def _ip_filter(spec: IpFilter) -> Iterator[Problem]:
    if not spec.allow and not spec.deny:
        yield Problem(field="ip_filter", message="needs at least one of allow and deny")
    yield from _networks(spec.allow, "ip_filter.allow")
    yield from _networks(spec.deny, "ip_filter.deny")


def _networks(texts: Iterable[str], field: str) -> Iterator[Problem]:
    for index, text in enumerate(texts):
        try:
            ip_network(text)
        except ValueError as error:
            yield Problem(field=f"{field}[{index}]", message=f"is not an address or network: {error}")


def _authorization(spec: Authorization) -> Iterator[Problem]:
    if not spec.allow and not spec.expression:
        yield Problem(field="authorization", message="needs at least one of allow and expression")
    for index, allowed in enumerate(spec.allow):
        field = f"authorization.allow[{index}]"
        if not (allowed.consumers or allowed.groups or allowed.models):
            yield Problem(field=field, message="needs at least one of consumers, groups and models")
        for number, model in enumerate(allowed.models):
            if not model or "*" in model[:-1]:
                text = "is not a model: exact, or with one * at the end"
                yield Problem(field=f"{field}.models[{number}]", message=text)
    yield from check_expression(spec.expression, "authorization.expression")


def _mtls_auth(spec: MtlsAuth) -> Iterator[Problem]:
    for index, name in enumerate(spec.names):
        if (fault := pattern_fault(name)) is not None:
            yield Problem(field=f"mtls_auth.names[{index}]", message=fault)


def _size_limits(spec: SizeLimits) -> Iterator[Problem]:
    if not spec.HasField("max_body_bytes") and not spec.HasField("max_header_bytes"):
        yield Problem(field="size_limits", message="needs at least one of max_body_bytes and max_header_bytes")


def _cache(spec: Cache) -> Iterator[Problem]:
    if spec.HasField("semantic") and spec.store == Cache.STORE_SHARED:
        text = (
            "is for store MEMORY: what finds answers by meaning is in each node's memory, and no other node's answers"
        )
        yield Problem(field="cache.semantic", message=text)


_CHECKS: Final[Mapping[str, Callable[[Any], Iterator[Problem]]]] = MappingProxyType(
    {
        "ip_filter": _ip_filter,
        "authorization": _authorization,
        "rate_limit": check_rate_limit,
        "budget": check_budget,
        "jwt_auth": check_jwt_auth,
        "mtls_auth": _mtls_auth,
        "cors": check_cors,
        "cache": _cache,
        "size_limits": _size_limits,
        "transform": check_transform,
        "guardrail": check_guardrail,
    }
)
