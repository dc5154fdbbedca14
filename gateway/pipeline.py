"""The way of a request through a node, in its one fixed order: match a route, authenticate, choose a backend, call it.

A `Pipeline` is one configuration made ready to run; listeners pin one per request. What changes while requests run
(clusters, shares of backends) stands in `LiveState` and outlives it.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from gateway.config.snapshot import (
    BackendConfig,
    ConsumerConfig,
    PolicyConfig,
    RetryConfig,
    RouteConfig,
    ServiceConfig,
    Snapshot,
    UpstreamTarget,
)
from gateway.context import RequestContext
from gateway.errors import NotFoundError, UnauthenticatedError, UnavailableError
from gateway.filters.authenticator import Authenticator, KeyIndex
from gateway.filters.table import build_filter
from gateway.providers.outbound import OutboundHeaders, outbound_headers, provider_upstream, service_upstreams
from gateway.router import Router, WeightedChoice
from gateway.schemas.dialect import Dialect
from gateway.schemas.table import SCHEMAS
from gateway.types import Operation, Schema
from gateway.upstream.answer import Answer
from gateway.upstream.attempt import UpstreamRequest
from gateway.upstream.call import Caller
from gateway.upstream.cluster import Cluster
from gateway.upstream.cluster_manager import ClusterManager

_DEFAULT_REQUEST_TIMEOUT_S = 600.0
_DEFAULT_FIRST_TOKEN_TIMEOUT_S = 60.0
_DEFAULT_STREAM_IDLE_TIMEOUT_S = 60.0


class InboundBody(Protocol):
    """The client's request, ready to be written for any backend."""

    def encode(self, schema: Schema, model: str) -> bytes:
        """The request in that schema, asking for that model."""


@dataclass(slots=True)
class LiveState:
    """What outlives a configuration: the clusters, and how far each route's backends have had their turns."""

    clusters: ClusterManager
    caller: Caller
    shares: dict[str, WeightedChoice[BackendConfig]] = field(default_factory=dict)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Makes the live state be that of a configuration. What did not change is kept."""
        self.clusters.reconcile([*snapshot.upstreams.values(), *service_upstreams(snapshot.services.values())])
        self.shares = {
            name: _kept_shares(self.shares.get(name), route.backends) for name, route in snapshot.routes.items()
        }


def _kept_shares(
    known: WeightedChoice[BackendConfig] | None, backends: Sequence[BackendConfig]
) -> WeightedChoice[BackendConfig]:
    fresh = WeightedChoice(backends)
    return known if known is not None and known.alternatives == fresh.alternatives else fresh


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """One service as one route calls it. `connect_timeout_s` None leaves it to the upstream."""

    service: ServiceConfig
    cluster: str
    headers: OutboundHeaders
    dialects: Mapping[Operation, Dialect]
    path_prefix: str
    model_override: str | None
    retry: RetryConfig
    connect_timeout_s: float | None
    request_timeout_s: float
    first_token_timeout_s: float
    stream_idle_timeout_s: float

    def upstream_model(self, model: str) -> str:
        """The name that the backend knows the model by."""
        wanted = self.model_override or model
        return self.service.model_names.get(wanted, wanted)

    def first_content_timeout_s(self, *, is_streaming: bool) -> float | None:
        """How long one attempt may take until its first content."""
        limits = [self.retry.per_try_timeout_s, self.first_token_timeout_s if is_streaming else None]
        return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One route, compiled."""

    route: RouteConfig
    authenticators: tuple[Authenticator, ...]
    shares: WeightedChoice[BackendConfig]
    backends: Mapping[BackendConfig, BackendPlan]


@dataclass(frozen=True, slots=True)
class ModelListing:
    """A model that a caller may ask for, and the service that offers it."""

    id: str
    owned_by: str


class Exchange(msgspec.Struct, frozen=True):
    """An answer, the dialect it is in, and the model name it must carry (None: it carries the right one)."""

    answer: Answer
    dialect: Dialect
    schema: Schema
    rename_model_to: str | None


class Pipeline:
    """One configuration, ready for requests. The live state must have been reconciled with it."""

    def __init__(self, snapshot: Snapshot, live: LiveState) -> None:
        self.snapshot = snapshot
        self._live = live
        keys = KeyIndex.of(snapshot.consumers.values())
        headers = {name: outbound_headers(service, snapshot.secrets) for name, service in snapshot.services.items()}
        self._router = Router([_plan_route(route, snapshot, live, headers, keys) for route in snapshot.routes.values()])

    def route(self, context: RequestContext) -> RoutePlan:
        """The route of a request, with the caller authenticated.

        Raises `NotFoundError` when no route takes the request, `UnauthenticatedError` when the caller must not.
        """
        plan = self._router.match(context)
        if plan is None:
            raise NotFoundError(
                f"no route takes the model '{context.model}'; GET /v1/models lists what is served",
                reason="MODEL_NOT_FOUND",
                param="model",
            )
        context.route = plan.route.name
        context.consumer = _authenticate(plan.authenticators, context)
        return plan

    async def call(self, context: RequestContext, plan: RoutePlan, body: InboundBody) -> Exchange:
        """Calls a backend of the route and returns its answer at the commit point."""
        share = plan.shares.choose()
        if share is None:
            raise UnavailableError(f"all backends of route {plan.route.name} have weight 0", reason="NO_BACKEND")
        backend = plan.backends[share]
        context.service = backend.service.name
        cluster = self._live.clusters.clusters.get(backend.cluster)
        if cluster is None:
            raise UnavailableError("the configuration has just changed", reason="NO_ENDPOINT", retry_after_s=0.0)
        model = backend.upstream_model(context.model)
        request = _upstream_request(context, backend, cluster, body.encode(backend.service.schema, model))
        started = time.perf_counter()
        try:
            answer = await self._live.caller.call(cluster, request, backend.retry, context)
        finally:
            context.upstream_seconds += time.perf_counter() - started
        return Exchange(
            answer, request.dialect, backend.service.schema, None if model == context.model else context.model
        )

    def models(self, context: RequestContext) -> Sequence[ModelListing]:
        """The models that the caller may ask for on this host, by name: exact names and advertised ones.

        Raises `UnauthenticatedError` when there are routes, but none for this caller.
        """
        listed: dict[str, ModelListing] = {}
        refusal: UnauthenticatedError | None = None
        is_admitted = False
        for plan in self._router.reachable(context.host):
            try:
                _authenticate(plan.authenticators, context)
            except UnauthenticatedError as error:
                refusal = error
                continue
            is_admitted = True
            for name in _listed_models(plan.route):
                listed.setdefault(name, ModelListing(name, plan.route.backends[0].service))
        if refusal is not None and not is_admitted:
            raise refusal
        return sorted(listed.values(), key=lambda model: model.id)


def _upstream_request(context: RequestContext, backend: BackendPlan, cluster: Cluster, body: bytes) -> UpstreamRequest:
    dialect = backend.dialects[context.operation]
    deadline = asyncio.get_running_loop().time() + backend.request_timeout_s
    return UpstreamRequest(
        dialect=dialect,
        path=backend.path_prefix + dialect.path,
        headers=backend.headers.build(context.headers, context.request_id, is_streaming=context.is_streaming),
        body=body,
        is_streaming=context.is_streaming,
        connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
        first_content_timeout_s=backend.first_content_timeout_s(is_streaming=context.is_streaming),
        stream_idle_timeout_s=backend.stream_idle_timeout_s,
        deadline=deadline if context.deadline is None else min(deadline, context.deadline),
    )


def _plan_route(
    route: RouteConfig,
    snapshot: Snapshot,
    live: LiveState,
    headers: Mapping[str, OutboundHeaders],
    keys: KeyIndex,
) -> RoutePlan:
    policies: Iterator[PolicyConfig] = (snapshot.policies[name] for name in route.policies)
    return RoutePlan(
        route=route,
        authenticators=tuple(build_filter(policy, keys) for policy in policies),
        shares=live.shares[route.name],
        backends={
            backend: _plan_backend(route, backend, snapshot.services[backend.service], headers[backend.service])
            for backend in route.backends
        },
    )


def _plan_backend(
    route: RouteConfig, backend: BackendConfig, service: ServiceConfig, headers: OutboundHeaders
) -> BackendPlan:
    own, its = route.timeouts, service.timeouts
    target = service.target
    provider = provider_upstream(service)
    return BackendPlan(
        service=service,
        cluster=target.upstream if isinstance(target, UpstreamTarget) else provider.name if provider else "",
        headers=headers,
        dialects=SCHEMAS[service.schema],
        path_prefix=target.path_prefix if isinstance(target, UpstreamTarget) else "",
        model_override=backend.model_override,
        retry=route.retry or service.retry or RetryConfig(),
        connect_timeout_s=own.connect_s or its.connect_s,
        request_timeout_s=own.request_s or its.request_s or _DEFAULT_REQUEST_TIMEOUT_S,
        first_token_timeout_s=own.first_token_s or its.first_token_s or _DEFAULT_FIRST_TOKEN_TIMEOUT_S,
        stream_idle_timeout_s=own.stream_idle_s or its.stream_idle_s or _DEFAULT_STREAM_IDLE_TIMEOUT_S,
    )


def _authenticate(authenticators: Sequence[Authenticator], context: RequestContext) -> ConsumerConfig | None:
    """The caller. Methods are alternatives: the first that succeeds wins; the last refusal is the one told."""
    refusal: UnauthenticatedError | None = None
    for authenticator in authenticators:
        try:
            return authenticator.authenticate(context)
        except UnauthenticatedError as error:
            refusal = error
    if refusal is not None:
        raise refusal
    return None


def _listed_models(route: RouteConfig) -> Iterator[str]:
    for model in (*route.match.models, *route.advertised_models):
        if not model.endswith("*"):
            yield model
