"""`Policy` messages to values: one function a kind, one line each in the table."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any

from janua.config.v1 import policy_pb2

from gateway.compile.durations import optional_seconds, seconds
from gateway.compile.guardrail import compile_guardrail
from gateway.compile.limits import compile_budget, compile_rate_limit
from gateway.compile.transform import compile_transform
from gateway.config.snapshot import (
    AllowedRequests,
    ApiKeyAuthConfig,
    AuthorizationConfig,
    CacheConfig,
    CacheScope,
    CorsConfig,
    IpFilterConfig,
    IpNetwork,
    JwtAuthConfig,
    MtlsAuthConfig,
    PolicyConfig,
    PolicySpec,
    SemanticConfig,
    SizeLimitsConfig,
)
from gateway.filters.key_set import read_key_set

_DEFAULT_ALGORITHMS = (policy_pb2.JWT_ALGORITHM_RS256, policy_pb2.JWT_ALGORITHM_ES256)
_DEFAULT_LEEWAY_S = 30.0
_DEFAULT_METHODS = ("GET", "HEAD", "POST")

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


def _jwt_auth(spec: policy_pb2.JwtAuth) -> JwtAuthConfig:
    """The value. Raises `BadKeySetError` for `jwks` without a key that can be used."""
    if spec.jwks:
        read_key_set(spec.jwks)
    return JwtAuthConfig(
        issuer=spec.issuer,
        algorithms=frozenset(_ALGORITHMS[value] for value in spec.algorithms or _DEFAULT_ALGORITHMS),
        audiences=frozenset(spec.audiences),
        jwks_uri=spec.jwks_uri,
        jwks=spec.jwks,
        consumer_claim=spec.consumer_claim or "sub",
        groups_claim=spec.groups_claim,
        leeway_s=seconds(spec, "leeway", _DEFAULT_LEEWAY_S),
        optional=spec.optional,
        required_claims=MappingProxyType(dict(spec.required_claims)),
        require_consumer=spec.require_consumer,
        subject_prefix=spec.subject_prefix,
        egress_proxy=spec.egress_proxy,
    )


def _mtls_auth(spec: policy_pb2.MtlsAuth) -> MtlsAuthConfig:
    return MtlsAuthConfig(optional=spec.optional, names=tuple(spec.names))


_ALGORITHMS: Mapping[int, str] = MappingProxyType(
    {
        policy_pb2.JWT_ALGORITHM_RS256: "RS256",
        policy_pb2.JWT_ALGORITHM_RS384: "RS384",
        policy_pb2.JWT_ALGORITHM_RS512: "RS512",
        policy_pb2.JWT_ALGORITHM_PS256: "PS256",
        policy_pb2.JWT_ALGORITHM_PS384: "PS384",
        policy_pb2.JWT_ALGORITHM_PS512: "PS512",
        policy_pb2.JWT_ALGORITHM_ES256: "ES256",
        policy_pb2.JWT_ALGORITHM_ES384: "ES384",
        policy_pb2.JWT_ALGORITHM_ES512: "ES512",
        policy_pb2.JWT_ALGORITHM_EDDSA: "EdDSA",
    }
)


_SCOPES: Mapping[int, CacheScope] = MappingProxyType(
    {
        policy_pb2.Cache.SCOPE_UNSPECIFIED: CacheScope.CONSUMER,
        policy_pb2.Cache.SCOPE_CONSUMER: CacheScope.CONSUMER,
        policy_pb2.Cache.SCOPE_GROUP: CacheScope.GROUP,
        policy_pb2.Cache.SCOPE_ROUTE: CacheScope.ROUTE,
    }
)


def _cors(spec: policy_pb2.Cors) -> CorsConfig:
    max_age_s = optional_seconds(spec, "max_age")
    return CorsConfig(
        allow_origins=tuple(origin.lower() for origin in spec.allow_origins),
        allow_methods=tuple(spec.allow_methods) or _DEFAULT_METHODS,
        allow_headers=tuple(name.lower() for name in spec.allow_headers),
        expose_headers=tuple(name.lower() for name in spec.expose_headers),
        allow_credentials=spec.allow_credentials,
        max_age_s=None if max_age_s is None else int(max_age_s),
    )


def _size_limits(spec: policy_pb2.SizeLimits) -> SizeLimitsConfig:
    return SizeLimitsConfig(
        max_body_bytes=spec.max_body_bytes if spec.HasField("max_body_bytes") else None,
        max_header_bytes=spec.max_header_bytes if spec.HasField("max_header_bytes") else None,
    )


def _cache(spec: policy_pb2.Cache) -> CacheConfig:
    return CacheConfig(
        ttl_s=seconds(spec, "ttl", 0.0),
        scope=_SCOPES[spec.scope],
        is_shared=spec.store == policy_pb2.Cache.STORE_SHARED,
        max_entry_bytes=spec.max_entry_bytes or _MAX_ENTRY_BYTES,
        single_flight=spec.single_flight if spec.HasField("single_flight") else True,
        respect_cache_control=spec.respect_cache_control if spec.HasField("respect_cache_control") else True,
        stale_s=seconds(spec, "stale_while_revalidate", 0.0),
        bypass_groups=frozenset(spec.bypass_groups),
        semantic=_semantic(spec.semantic) if spec.HasField("semantic") else None,
    )


def _semantic(spec: policy_pb2.SemanticCache) -> SemanticConfig:
    default = SemanticConfig(service=spec.service, model=spec.model)
    return SemanticConfig(
        service=spec.service,
        model=spec.model,
        threshold=spec.threshold if spec.HasField("threshold") else default.threshold,
        max_candidates=spec.max_candidates or default.max_candidates,
        timeout_s=seconds(spec, "timeout", default.timeout_s),
        max_text_bytes=spec.max_text_bytes or default.max_text_bytes,
        dimensions=spec.dimensions or None,
    )


_COMPILERS: Mapping[str, Callable[[Any], PolicySpec]] = MappingProxyType(
    {
        "api_key_auth": _api_key_auth,
        "ip_filter": _ip_filter,
        "authorization": _authorization,
        "rate_limit": compile_rate_limit,
        "budget": compile_budget,
        "jwt_auth": _jwt_auth,
        "mtls_auth": _mtls_auth,
        "cors": _cors,
        "size_limits": _size_limits,
        "cache": _cache,
        "transform": compile_transform,
        "guardrail": compile_guardrail,
    }
)
