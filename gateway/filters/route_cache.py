"""The cache of one route: its policy, joined with what else of the configuration decides on its answers."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

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
    RouteConfig,
    ServiceConfig,
    SizeLimitsConfig,
)
from gateway.config.stable_text import stable_text
from gateway.context import RequestContext
from gateway.errors import GatewayError, PermissionDeniedError
from gateway.filters.cache import Cache, Wish
from gateway.filters.phases import Filters

# They say who may ask, and how much, and nothing of what is answered.
_ADMITTING = (
    ApiKeyAuthConfig,
    AuthorizationConfig,
    BudgetConfig,
    CorsConfig,
    IpFilterConfig,
    JwtAuthConfig,
    MtlsAuthConfig,
    RateLimitConfig,
    SizeLimitsConfig,
)


class RouteCache:
    """A route's cache. `policies` are all by name, `of_services` the filters of each service that may be called."""

    def __init__(
        self,
        cache: Cache,
        *,
        route: RouteConfig,
        services: Iterable[ServiceConfig],
        policies: Mapping[str, PolicyConfig],
        of_services: Iterable[Filters],
    ) -> None:
        self.config: CacheConfig = cache.config
        self.answers = cache.answers
        self.scope = cache.scope
        self._cache = cache
        self._policies = policies
        of_services = tuple(of_services)
        self._authorizing = tuple(filters for filters in of_services if filters.authorizers)
        self._changing = tuple(filters for filters in of_services if filters.request_editors or filters.answer_editors)
        services = tuple(services)
        names = [*route.policies, *(name for service in services for name in service.policies)]
        self._of_route = stable_text((route, services, self._shaping(names)))
        self._versions: dict[tuple[str, ...], bytes] = {}

    def wish(self, context: RequestContext) -> Wish | None:
        """What the caller wants; None if its answer is to be neither read nor kept. So it is for one whom a service
        might refuse: who may have an answer is then for the service that gives it to say."""
        try:
            for filters in self._authorizing:
                filters.authorize(context)
        except PermissionDeniedError:
            return None
        return self._cache.wish(context)

    def version(self, context: RequestContext) -> bytes:
        """Changes with everything in the configuration that shapes what this caller is answered."""
        names = context.consumer.policies if context.consumer is not None else ()
        found = self._versions.get(names)
        if found is None:
            found = sha256(f"{self._of_route} {stable_text(self._shaping(names))}".encode()).digest()
            self._versions[names] = found
        return found

    def shape(self, context: RequestContext, filters: Filters) -> list[bytes] | None:
        """What the changes of policies depend on, beside the policies, and the request that those of the caller and the
        route, `filters`, have changed already. None if one of them cannot be made."""
        try:
            shape = [editor.answer_shape(context) for editor in filters.answer_editors]
            for of_service in self._changing:
                shape += [editor.request_shape(context) for editor in of_service.request_editors]
                shape += [editor.answer_shape(context) for editor in of_service.answer_editors]
        except GatewayError:
            return None
        return shape

    def _shaping(self, names: Iterable[str]) -> list[PolicyConfig]:
        policies = [self._policies[name] for name in dict.fromkeys(names)]
        return [policy for policy in policies if not isinstance(policy.spec, _ADMITTING)]
