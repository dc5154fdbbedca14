"""`Policy` messages to values: one function a kind, one line each in the table."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any

from janua.config.v1 import policy_pb2

from gateway.compile.durations import seconds
from gateway.compile.limits import compile_budget, compile_rate_limit
from gateway.config.snapshot import (
    AllowedRequests,
    ApiKeyAuthConfig,
    AuthorizationConfig,
    CacheConfig,
    CacheScope,
    IpFilterConfig,
    IpNetwork,
    PolicyConfig,
    PolicySpec,
)

_MAX_ENTRY_BYTES = 1024 * 1024


def compile_policy(message: policy_pb2.Policy) -> PolicyConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    kind = message.WhichOneof("spec")
    assert kind is not None, "a policy without a rule that is known here is refused before"
    return PolicyConfig(name=message.name, spec=_COMPILERS[kind](getattr(message, kind)))


def _api_key_auth(spec: policy_pb2.ApiKeyAuth) -> ApiKeyAuthConfig:
    return ApiKeyAuthConfig(optional=spec.optional)


def _ip_filter(spec: policy_pb2.IpFilter) -> IpFilterConfig:
    return IpFilterConfig(allow=_networks(spec.allow), deny=_networks(spec.deny))


def _networks(texts: Iterable[str]) -> tuple[IpNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


def _authorization(spec: policy_pb2.Authorization) -> AuthorizationConfig:
    allow = tuple(
        AllowedRequests(consumers=frozenset(each.consumers), groups=frozenset(each.groups), models=tuple(each.models))
        for each in spec.allow
    )
    return AuthorizationConfig(allow=allow, expression=spec.expression)


_SCOPES: Mapping[int, CacheScope] = MappingProxyType(
    {
        policy_pb2.Cache.SCOPE_UNSPECIFIED: CacheScope.CONSUMER,
        policy_pb2.Cache.SCOPE_CONSUMER: CacheScope.CONSUMER,
        policy_pb2.Cache.SCOPE_GROUP: CacheScope.GROUP,
        policy_pb2.Cache.SCOPE_ROUTE: CacheScope.ROUTE,
    }
)


def _cache(spec: policy_pb2.Cache) -> CacheConfig:
    return CacheConfig(
        ttl_s=seconds(spec, "ttl", 0.0),
        scope=_SCOPES[spec.scope],
        max_entry_bytes=spec.max_entry_bytes or _MAX_ENTRY_BYTES,
        single_flight=spec.single_flight if spec.HasField("single_flight") else True,
        respect_cache_control=spec.respect_cache_control if spec.HasField("respect_cache_control") else True,
        stale_s=seconds(spec, "stale_while_revalidate", 0.0),
        bypass_groups=frozenset(spec.bypass_groups),
    )


_COMPILERS: Mapping[str, Callable[[Any], PolicySpec]] = MappingProxyType(
    {
        "api_key_auth": _api_key_auth,
        "ip_filter": _ip_filter,
        "authorization": _authorization,
        "rate_limit": compile_rate_limit,
        "budget": compile_budget,
        "cache": _cache,
    }
)
