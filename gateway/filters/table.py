"""The table of filters: which policy becomes which filter. A new kind of policy is one file and one line here."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.config.guardrail import GuardrailConfig
from gateway.config.limits import BudgetConfig, RateLimitConfig
from gateway.config.snapshot import (
    ApiKeyAuthConfig,
    AuthorizationConfig,
    CacheConfig,
    CorsConfig,
    IpFilterConfig,
    JwtAuthConfig,
    MtlsAuthConfig,
    PolicyConfig,
    PolicySpec,
    SizeLimitsConfig,
)
from gateway.config.transform import TransformConfig
from gateway.filters.api_key_auth import ApiKeyAuth
from gateway.filters.authorization import Authorization
from gateway.filters.cache import Cache
from gateway.filters.cors import Cors
from gateway.filters.guardrail import Guardrail
from gateway.filters.ip_filter import IpFilter
from gateway.filters.jwt_auth import JwtAuth
from gateway.filters.limits.limiter import Limits
from gateway.filters.limits.rule import rule_of_budget, rules_of_limits
from gateway.filters.mtls_auth import MtlsAuth
from gateway.filters.node_services import NodeServices
from gateway.filters.phases import Filter, Filters
from gateway.filters.size_limits import SizeLimits
from gateway.filters.transform import Transform

# The name of the policy, its rule, and what lives as long as the node.
_Builder = Callable[[str, Any, NodeServices], Filter]

FILTERS: Mapping[type[PolicySpec], _Builder] = {
    ApiKeyAuthConfig: lambda _, config, services: ApiKeyAuth(config, services.keys),
    IpFilterConfig: lambda _, config, __: IpFilter(config),
    AuthorizationConfig: lambda _, config, __: Authorization(config),
    RateLimitConfig: lambda name, config, services: Limits(
        rules_of_limits(name, config, services.limits), services.limits
    ),
    BudgetConfig: lambda name, config, services: Limits(
        [rule_of_budget(name, config, services.limits)], services.limits
    ),
    JwtAuthConfig: lambda _, config, services: JwtAuth.of(config, services),
    MtlsAuthConfig: lambda _, config, services: MtlsAuth(config, services.certificate_names),
    CorsConfig: lambda _, config, __: Cors(config),
    SizeLimitsConfig: lambda _, config, __: SizeLimits(config),
    CacheConfig: lambda _, config, services: Cache(config, services.answers),
    TransformConfig: lambda name, config, _: Transform(name, config),
    GuardrailConfig: lambda name, config, services: Guardrail(name, config, services.metrics, services.judges),
}


def build_filters(policies: Mapping[str, PolicyConfig], services: NodeServices) -> Mapping[str, Filter]:
    """The filter of each policy, by name."""
    return {name: FILTERS[type(policy.spec)](name, policy.spec, services) for name, policy in policies.items()}


def filters_of(names: Iterable[str], built: Mapping[str, Filter]) -> Filters:
    """The filters of those names, each once, by phase."""
    return Filters.of(built[name] for name in dict.fromkeys(names))
