"""What a configuration says of each route, joined and ready for requests: the plans that a pipeline runs.

They are made when they are first asked for, so that a configuration costs what is used of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

from gateway.config.prices import PricedModel
from gateway.config.snapshot import (
    BackendConfig,
    ConsumerConfig,
    PolicyConfig,
    ProviderTarget,
    RetryConfig,
    RouteConfig,
    SemanticConfig,
    ServiceConfig,
    Snapshot,
    UpstreamTarget,
)
from gateway.config.stable_text import stable_text
from gateway.context import RequestContext
from gateway.errors import Credential, UnauthenticatedError, UnavailableError
from gateway.filters.cache import Cache
from gateway.filters.phases import NO_FILTERS, Filter, Filters
from gateway.filters.route_cache import RouteCache
from gateway.filters.table import filters_of
from gateway.providers.limits import FeatureLimits, feature_limits
from gateway.providers.outbound import OutboundHeaders, outbound_headers, provider_pool
from gateway.providers.prices import ServicePrices, service_prices
from gateway.providers.table import PROVIDERS
from gateway.router import BackendChoice, Choices
from gateway.schemas.table import SCHEMAS, Family
from gateway.types import Feature

_DEFAULT_REQUEST_TIMEOUT_S = 600.0
_DEFAULT_FIRST_TOKEN_TIMEOUT_S = 60.0
_DEFAULT_STREAM_IDLE_TIMEOUT_S = 60.0
_NO_RETRIES = RetryConfig(num_retries=0)
_NOTHING: frozenset[Feature] = frozenset()


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """One service as one route calls it. `connect_timeout_s` None leaves it to the upstream; `is_retry_configured`:
    `retry` is what somebody has written, not the default. `make_path` is there where a provider's paths are its own.
    `prices` and `limits` None: it has none. `needs_usage`: streams must tell their usage, also where the caller does
    not want it."""

    service: ServiceConfig
    family: Family
    cluster: str
    headers: OutboundHeaders
    path_prefix: str
    model_override: str | None
    retry: RetryConfig
    connect_timeout_s: float | None
    request_timeout_s: float
    first_token_timeout_s: float
    stream_idle_timeout_s: float
    is_retry_configured: bool = False
    filters: Filters = NO_FILTERS
    prices: ServicePrices | None = None
    needs_usage: bool = False
    limits: FeatureLimits | None = None
    make_path: Callable[[str, str], str] | None = None

    @property
    def is_outside(self) -> bool:
        """Whether it is a provider's, which has no business with what clients say of themselves."""
        return isinstance(self.service.target, ProviderTarget)

    def upstream_model(self, model: str) -> str:
        """The name that the backend knows the model by."""
        wanted = self.model_override or model
        return self.service.model_names.get(wanted, wanted)

    def priced(self, model: str) -> PricedModel | None:
        """What the model costs at this moment; None where nobody wants to know."""
        if self.prices is None:
            return None
        return self.prices.of(self.model_override or model, self.upstream_model(model))

    def lacks(self, model: str) -> frozenset[Feature]:
        """What the model cannot do."""
        return self.limits.of(self.model_override or model) if self.limits is not None else _NOTHING

    def inference_path(self, path: str, model: str) -> str:
        """Where the backend has what the dialect has at `path`, for its own name of the model."""
        return self.path_prefix + path if self.make_path is None else self.make_path(path, model)

    def first_content_timeout_s(self, *, is_streaming: bool) -> float | None:
        """How long one attempt may take until its first content."""
        per_try_s = self.retry.per_try_timeout_s
        if not is_streaming:
            return per_try_s
        return self.first_token_timeout_s if per_try_s is None else min(per_try_s, self.first_token_timeout_s)


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """Where copies of a share of the requests go."""

    backend: BackendPlan
    percent: float


@dataclass(frozen=True, slots=True)
class EmbedderPlan:
    """The service that makes vectors for the cache of a route. `version` changes with it: vectors that it made before
    are not to be compared with those that it makes now."""

    backend: BackendPlan
    version: bytes


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One route, ready for requests. `policies` are all filters by name, for those that consumers bring. `embedder`
    None: the cache has no need of one, or it is not there yet."""

    route: RouteConfig
    filters: Filters
    choice: BackendChoice
    backends: Mapping[BackendConfig, BackendPlan]
    mirror: MirrorPlan | None
    policies: Mapping[str, Filter] = field(default_factory=dict, repr=False)
    cache: RouteCache | None = None
    embedder: EmbedderPlan | None = None
    _of_consumers: dict[tuple[str, ...], Filters] = field(default_factory=dict, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether no policy has a say in who may ask. Policies of consumers need one that finds out who calls."""
        return self.filters.is_empty

    def priced(self, model: str) -> PricedModel | None:
        """What the model costs at the first backend that has prices, to estimate by; None where none has."""
        return next((found for each in self.backends.values() if (found := each.priced(model)) is not None), None)

    async def admit(self, context: RequestContext) -> None:
        """Finds out who calls, and whether it may. Raises `UnauthenticatedError` and `PermissionDeniedError`."""
        if self.filters.cross_origin is not None:
            self.filters.cross_origin.mark(context)
        await self.authenticate(context)
        self.authorize(context)

    async def authenticate(self, context: RequestContext) -> None:
        """Finds out who calls, if it may call at all. Raises as `admit` does."""
        for screen in self.filters.screens:
            screen.screen(context)
        if self.filters.authenticators:
            context.consumer = await self._authenticate(context)

    def authorize(self, context: RequestContext) -> None:
        """Decides whether the caller may have what it asks for. Raises `PermissionDeniedError`."""
        self.filters_for(context.consumer).authorize(context)

    def filters_for(self, consumer: ConsumerConfig | None) -> Filters:
        """The route's filters together with those of the consumer, which come first."""
        if consumer is None or not consumer.policies:
            return self.filters
        found = self._of_consumers.get(consumer.policies)
        if found is None:
            found = filters_of((*consumer.policies, *self.route.policies), self.policies)
            self._of_consumers[consumer.policies] = found
        return found

    async def _authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The caller. Methods are alternatives: the first that succeeds wins, whatever others say.

        Of several refusals the one that knows most of the credential is told. A caller is anonymous where one method
        allows it and none has found a credential.
        """
        refusal: UnauthenticatedError | None = None
        unavailable: UnavailableError | None = None
        may_be_anonymous = False
        for authenticator in self.filters.authenticators:
            try:
                caller = await authenticator.authenticate(context)
            except UnauthenticatedError as error:
                if refusal is None or error.credential > refusal.credential:
                    refusal = error
            except UnavailableError as error:
                unavailable = error
            else:
                if caller is not None:
                    return caller
                may_be_anonymous = True
        if unavailable is not None:
            raise unavailable
        if refusal is None or (may_be_anonymous and refusal.credential is Credential.MISSING):
            return None
        raise refusal


@dataclass(frozen=True, slots=True)
class _ServicePlan:
    """What is the same of a service wherever it is called."""

    service: ServiceConfig
    headers: OutboundHeaders
    prices: ServicePrices | None
    limits: FeatureLimits | None
    filters: Filters


class Planner:
    """Makes the plans of one configuration's routes, each when it is first asked for.

    `before` is the planner of the configuration before: what it has made is kept where nothing has changed that it was
    made of.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        policies: Mapping[str, Filter],
        choices: Choices,
        before: "Planner | None" = None,
    ) -> None:
        self._snapshot = snapshot
        self._policies = policies
        self._choices = choices
        self._services: dict[str, _ServicePlan] = {}
        self._plans: dict[str, RoutePlan] = {}
        if before is not None and before._has_made_of(snapshot, policies):
            self._services = before._services
            self._plans = before._plans
            for name in [name for name in self._plans if name not in snapshot.routes]:
                del self._plans[name]

    def _has_made_of(self, snapshot: Snapshot, policies: Mapping[str, Filter]) -> bool:
        """Whether its plans are of these services, secrets and filters."""
        own = self._snapshot
        return own.services is snapshot.services and own.secrets is snapshot.secrets and self._policies is policies

    def plan(self, route: RouteConfig) -> RoutePlan:
        """The plan of one of the routes."""
        plan = self._plans.get(route.name)
        if plan is None or plan.route is not route:
            plan = self._plans[route.name] = self._plan_route(route)
        return plan

    def _service(self, name: str) -> _ServicePlan:
        planned = self._services.get(name)
        if planned is None:
            service = self._snapshot.services[name]
            planned = self._services[name] = _ServicePlan(
                service,
                outbound_headers(service, self._snapshot.secrets),
                service_prices(service),
                feature_limits(service),
                filters_of(service.policies, self._policies),
            )
        return planned

    def _plan_route(self, route: RouteConfig) -> RoutePlan:
        def plan(backend: BackendConfig, retry: RetryConfig | None) -> BackendPlan:
            return _plan_backend(route, backend, self._service(backend.service), retry)

        mirror = route.mirror
        filters = filters_of(route.policies, self._policies)
        called = [self._service(backend.service) for backend in route.backends]
        cache = _route_cache(route, filters, called, self._snapshot.policies)
        return RoutePlan(
            route=route,
            filters=filters,
            choice=self._choices.of(route),
            backends={backend: plan(backend, route.retry) for backend in route.backends},
            mirror=MirrorPlan(plan(BackendConfig(service=mirror.service), _NO_RETRIES), mirror.percent)
            if mirror
            else None,
            policies=self._policies,
            cache=cache,
            embedder=None if cache is None else self._embedder(route, cache.config.semantic),
        )

    def _embedder(self, route: RouteConfig, semantic: SemanticConfig | None) -> EmbedderPlan | None:
        if semantic is None or semantic.service not in self._snapshot.services:
            return None
        planned = self._service(semantic.service)
        backend = _plan_backend(route, BackendConfig(service=semantic.service), planned, None)
        # Not the time limit of the request, so that a call that takes longer counts against its endpoint.
        limit_s = min(semantic.timeout_s, planned.service.timeouts.request_s or semantic.timeout_s)
        policies = tuple(self._snapshot.policies[name] for name in planned.service.policies)
        version = sha256(stable_text((planned.service, policies)).encode()).digest()
        return EmbedderPlan(replace(backend, request_timeout_s=limit_s), version)


def _route_cache(
    route: RouteConfig, filters: Filters, called: Sequence[_ServicePlan], configured: Mapping[str, PolicyConfig]
) -> RouteCache | None:
    cache = next((keeper for keeper in filters.keepers if isinstance(keeper, Cache)), None)
    if cache is None:
        return None
    return RouteCache(
        cache,
        route=route,
        services=(planned.service for planned in called),
        policies=configured,
        of_services=(planned.filters for planned in called),
    )


def _plan_backend(
    route: RouteConfig, backend: BackendConfig, planned: _ServicePlan, retry: RetryConfig | None
) -> BackendPlan:
    service = planned.service
    own, its = route.timeouts, service.timeouts
    target = service.target
    family, make_path = SCHEMAS[service.schema], None
    if isinstance(target, ProviderTarget):
        provider = PROVIDERS[target.provider]
        family = provider.own_family or family
        make_path = partial(provider.make_path, target) if provider.make_path is not None else None
    return BackendPlan(
        service=service,
        family=family,
        cluster=target.upstream if isinstance(target, UpstreamTarget) else provider_pool(service.name),
        headers=planned.headers,
        path_prefix=target.path_prefix if isinstance(target, UpstreamTarget) else "",
        model_override=backend.model_override,
        retry=retry or service.retry or RetryConfig(),
        is_retry_configured=(retry or service.retry) is not None,
        connect_timeout_s=own.connect_s or its.connect_s,
        request_timeout_s=own.request_s or its.request_s or _DEFAULT_REQUEST_TIMEOUT_S,
        first_token_timeout_s=own.first_token_s or its.first_token_s or _DEFAULT_FIRST_TOKEN_TIMEOUT_S,
        stream_idle_timeout_s=own.stream_idle_s or its.stream_idle_s or _DEFAULT_STREAM_IDLE_TIMEOUT_S,
        prices=planned.prices,
        needs_usage=planned.prices is not None and planned.prices.is_of_tokens,
        limits=planned.limits,
        filters=planned.filters,
        make_path=make_path,
    )
