"""The way of a request through a node, in its one fixed order: match a route, admit the caller, count it against its
limits, then backend after backend until one answers.

A `Pipeline` is one configuration made ready to run; listeners pin one per request. What changes while requests run
(clusters, turns of backends, copies) stands in `LiveState` and outlives it.
"""

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from gateway.config.snapshot import BackendConfig, Failure, JwtAuthConfig, RouteConfig, Snapshot
from gateway.config.upstream import HashCookie, UpstreamConfig
from gateway.context import RequestContext
from gateway.errors import (
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnauthenticatedError,
    UnavailableError,
)
from gateway.filters.api_keys import KeyIndex
from gateway.filters.limits.state import LimitState
from gateway.filters.node_services import NodeServices
from gateway.filters.phases import CrossOrigin, Editable, Filter, Filters
from gateway.filters.published_keys import KeyDirectory
from gateway.filters.table import build_filters
from gateway.fixed_answer import fixed_answer
from gateway.mirror import Mirrors
from gateway.plan import BackendPlan, Planner, RoutePlan
from gateway.providers.outbound import service_upstreams
from gateway.response_cache.response_cache import ResponseCache
from gateway.router import Choices, RoutesInUse
from gateway.schemas.unsupported import UnsupportedByBackendError
from gateway.transport.outgoing import Outgoing
from gateway.types import Demand
from gateway.upstream.balancing.hash_policy import cookie_key, request_key
from gateway.upstream.call import Caller, UpstreamRequest
from gateway.upstream.cluster import Cluster
from gateway.upstream.cluster_manager import ClusterManager
from gateway.upstream.retry import AttemptFailedError

A = TypeVar("A")


class Inbound(Editable, Protocol[A]):
    """The client's request, ready to be made into one for any backend."""

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> UpstreamRequest[A]:
        """The request as that backend wants it. Raises `UnsupportedByBackendError` if it has nothing like it."""

    def prompt_prefix(self, size: int) -> bytes:
        """The beginning of the prompt, at most so many bytes; empty if there is none."""

    def demand(self) -> Demand:
        """What it will take as far as can be told before."""

    async def discard(self, answer: A) -> None:
        """Reads an answer to its end and throws it away."""


@dataclass(slots=True)
class LiveState:
    """What outlives a configuration: the clusters, the turns of each route's backends, the copies being made, what is
    counted for limits, the keys of issuers, the answers that are kept, the connections to those who judge texts, and
    the router, of which most stays the same."""

    clusters: ClusterManager
    caller: Caller
    mirrors: Mirrors
    limits: LimitState
    published_keys: KeyDirectory
    answers: ResponseCache = field(default_factory=ResponseCache)
    judges: Outgoing = field(default_factory=Outgoing)
    choices: Choices = field(default_factory=Choices)
    routes: RoutesInUse = field(default_factory=RoutesInUse)

    def prepare(self, snapshot: Snapshot) -> Iterator[None]:
        """Does in steps what would otherwise take long when the configuration is taken."""
        yield from self.clusters.prepare(_upstreams(snapshot))
        yield from self.routes.follow(snapshot.routes)

    def reconcile(self, snapshot: Snapshot) -> None:
        """Makes the live state be that of a configuration. What did not change is kept."""
        self.clusters.reconcile(_upstreams(snapshot))
        self.published_keys.reconcile(
            {
                source
                for policy in snapshot.policies.values()
                if isinstance(policy.spec, JwtAuthConfig) and (source := policy.spec.key_source) is not None
            }
        )
        self.choices.keep(snapshot.routes)


def _upstreams(snapshot: Snapshot) -> list[UpstreamConfig]:
    upstreams = [_with_certificate(upstream, snapshot) for upstream in snapshot.upstreams.values()]
    return [*upstreams, *service_upstreams(snapshot)]


def _with_certificate(upstream: UpstreamConfig, snapshot: Snapshot) -> UpstreamConfig:
    """The upstream with the value of the secret that it names."""
    tls = upstream.tls
    if tls is None or tls.client_secret is None:
        return upstream
    return replace(upstream, tls=replace(tls, client_certificate=snapshot.secrets[tls.client_secret].value))


@dataclass(frozen=True, slots=True)
class ModelListing:
    """A model that a caller may ask for, and the service that offers it."""

    id: str
    owned_by: str


@dataclass(frozen=True, slots=True)
class CrossOrigins:
    """Policies for browsers of the routes that let such a caller in; the `refusal` if there are others alone."""

    policies: Sequence[CrossOrigin] = ()
    refusal: GatewayError | None = None


class Pipeline:
    """One configuration, ready for requests. The live state must have been reconciled with it.

    `before` is the configuration before, of which all is kept that has not changed.
    """

    def __init__(self, snapshot: Snapshot, live: LiveState, before: "Pipeline | None" = None) -> None:
        self.snapshot = snapshot
        self._live = live
        self._filters: Mapping[str, Filter]
        if before is not None and before._has_filters_of(snapshot):
            self._filters = before._filters
        else:
            self._filters = _build_filters(snapshot, live)
        self.planner: Planner = Planner(snapshot, self._filters, live.choices, before.planner if before else None)
        self._router = live.routes.router_of(snapshot.routes)

    def _has_filters_of(self, snapshot: Snapshot) -> bool:
        own = self.snapshot
        return own.policies is snapshot.policies and own.consumers is snapshot.consumers

    async def route(self, context: RequestContext) -> RoutePlan:
        """The route of a request, with the caller admitted to it.

        Raises `NotFoundError` when no route takes the request, `UnauthenticatedError` and `PermissionDeniedError` when
        the caller must not, and `FixedAnswerError` when the route answers itself.
        """
        plan = self.find_route(context)
        if plan is None:
            raise NotFoundError(
                f"no route takes the model '{context.model}'; GET /v1/models lists what is served",
                reason="MODEL_NOT_FOUND",
                param="model",
            )
        await self.admit(context, plan)
        return plan

    def find_route(self, context: RequestContext) -> RoutePlan | None:
        """The route that takes the request, if one does."""
        route = self._router.match(context)
        return self.planner.plan(route) if route is not None else None

    def cross_origins(self, context: RequestContext) -> CrossOrigins:
        """The policies for browsers of the routes that may take the request, whatever its model and headers; that of
        the most specific route first."""
        return _cross_origins(map(self.planner.plan, self._router.candidates(context)), context)

    def cross_origins_of_host(self, context: RequestContext) -> CrossOrigins:
        """Those of all routes for the host."""
        return _cross_origins(map(self.planner.plan, self._router.reachable(context.host)), context)

    async def admit(self, context: RequestContext, plan: RoutePlan) -> None:
        """Applies to a request what its route says before any backend is chosen. Raises as `route` does."""
        context.route = plan.route.name
        _shorten_deadline(context)
        if not plan.is_open:
            await plan.admit(context)
        if plan.route.fixed_answer is not None:
            raise fixed_answer(plan.route.fixed_answer, context)

    async def call(self, context: RequestContext, plan: RoutePlan, inbound: Inbound[A]) -> A:
        """Calls one backend of the route after another until one answers, and returns its answer at the commit point.

        Those that have nothing like what is asked for are passed over. Raises the error of the last one that was
        called; if all were passed over, that of the first.
        """
        await self.reserve(context, plan, inbound)
        filters = plan.filters_for(context.consumer)
        if filters.request_editors:
            inbound = await filters.edit_request(context, inbound)
        if filters.answer_editors:
            filters.edit_answer(context)
        return await self.forward(context, plan, inbound)

    async def reserve(self, context: RequestContext, plan: RoutePlan, inbound: Inbound[Any]) -> None:
        """Counts a request against the limits of its caller and route. Raises `RateLimitedError`."""
        if (filters := plan.filters_for(context.consumer)).limiters:
            context.priced = plan.priced(context.model)
            await filters.reserve(context, inbound)

    async def forward(self, context: RequestContext, plan: RoutePlan, inbound: Inbound[A]) -> A:
        """What `call` does but for the limits of caller and route, and their changes."""
        started = asyncio.get_running_loop().time()
        if plan.mirror is not None:
            self._mirror(context, plan, inbound)
        edits = context.header_edits, context.answer_edits
        tried: set[BackendConfig] = set()
        failed: AttemptFailedError | None = None
        unsupported: UnsupportedByBackendError | None = None
        while (backend := plan.choice.choose(lambda each: self._is_live(plan.backends[each]), tried)) is not None:
            tried.add(backend)
            can_move_on = len(tried) < len(plan.choice.backends)
            held = len(context.reservations)
            try:
                return await self._call_backend(context, plan.backends[backend], inbound, started, can_move_on)
            except UnsupportedByBackendError as error:
                unsupported = unsupported or error
                _settle_from(held, context)
            except AttemptFailedError as failure:
                failed = failure
                _settle_from(held, context)
                if plan.route.fallback_on.isdisjoint(failure.failures):
                    break
            context.header_edits, context.answer_edits = edits
        if failed is not None:
            raise failed.error from failed
        if unsupported is not None:
            raise unsupported
        raise UnavailableError(f"all backends of route {plan.route.name} have weight 0", reason="NO_BACKEND")

    async def ask(self, context: RequestContext, backend: BackendPlan, inbound: Inbound[A]) -> A:
        """Calls one service for the node itself, outside all routes. Raises as `forward`."""
        try:
            return await self._call_backend(
                context, backend, inbound, asyncio.get_running_loop().time(), can_move_on=False
            )
        except AttemptFailedError as failure:
            raise failure.error from failure

    async def _call_backend(
        self, context: RequestContext, backend: BackendPlan, inbound: Inbound[A], started: float, can_move_on: bool
    ) -> A:
        context.service = backend.service.name
        context.priced = backend.priced(context.model)
        if not backend.filters.is_empty:
            inbound = await self._apply(backend.filters, context, inbound)
        cluster = self._live.clusters.clusters.get(backend.cluster)
        if cluster is None:
            error = UnavailableError("the configuration has just changed", reason="NO_ENDPOINT", retry_after_s=0.0)
            raise AttemptFailedError(error, Failure.NO_ENDPOINT)
        request = inbound.for_backend(context, backend, cluster, _deadline(context, backend, started))
        key = _affinity_key(context, cluster, inbound) if cluster.wants_key else None
        waiting_since = time.perf_counter()
        try:
            return await self._live.caller.call(
                cluster, request, backend.retry, context, key=key, can_move_on=can_move_on
            )
        finally:
            context.upstream_seconds += time.perf_counter() - waiting_since

    async def _apply(self, filters: Filters, context: RequestContext, inbound: Inbound[A]) -> Inbound[A]:
        """The policies of a service. A limit that is reached is one attempt's failure, any other refusal final."""
        filters.authorize(context)
        try:
            await filters.reserve(context, inbound)
        except RateLimitedError as error:
            raise AttemptFailedError(error, Failure.RATE_LIMITED) from None
        inbound = await filters.edit_request(context, inbound)
        filters.edit_answer(context)
        return inbound

    def _is_live(self, backend: BackendPlan) -> bool:
        cluster = self._live.clusters.clusters.get(backend.cluster)
        return cluster is not None and cluster.is_live

    def _mirror(self, context: RequestContext, plan: RoutePlan, inbound: Inbound[A]) -> None:
        """Sends a copy on its way, if it is this request's turn. Its failures are nobody's."""
        mirror = plan.mirror
        if mirror is None or not self._live.mirrors.takes(plan.route.name, mirror.percent):
            return
        cluster = self._live.clusters.clusters.get(mirror.backend.cluster)
        if cluster is None:
            return
        own = replace(context, service=mirror.backend.service.name)
        deadline = _deadline(own, mirror.backend, asyncio.get_running_loop().time())
        filters = mirror.backend.filters
        try:
            request = None if filters.request_editors else inbound.for_backend(own, mirror.backend, cluster, deadline)
        except GatewayError:
            return
        if request is not None and not request.is_repeatable:
            return

        async def copy() -> None:
            edited, asked = inbound, request
            if asked is None:  # nobody waits for what its policies have to ask others
                edited = await filters.edit_request(own, inbound)
                asked = edited.for_backend(own, mirror.backend, cluster, deadline)
            if asked.is_repeatable:
                await edited.discard(await self._live.caller.call(cluster, asked, mirror.backend.retry, own))

        self._live.mirrors.start(copy())

    async def models(self, context: RequestContext) -> Sequence[ModelListing]:
        """The models that the caller may ask for on this host, by name: exact names and advertised ones.

        Raises `UnauthenticatedError`, `PermissionDeniedError` or `UnavailableError` when there are routes, but none for
        this caller.
        """
        listed: dict[str, ModelListing] = {}
        refusal: GatewayError | None = None
        is_admitted = False
        for plan in map(self.planner.plan, self._router.reachable(context.host)):
            if not plan.route.backends:
                continue
            asking = replace(context, route=plan.route.name)
            try:
                await plan.authenticate(asking)
            except (UnauthenticatedError, PermissionDeniedError, UnavailableError) as error:
                refusal = error
                continue
            is_admitted = True
            for name in _listed_models(plan.route):
                if _may_ask_for(name, asking, plan):
                    listed.setdefault(name, ModelListing(name, plan.route.backends[0].service))
        if refusal is not None and not is_admitted:
            raise refusal
        return sorted(listed.values(), key=lambda model: model.id)


def _build_filters(snapshot: Snapshot, live: LiveState) -> Mapping[str, Filter]:
    live.limits.begin()
    consumers = snapshot.consumers.values()
    services = NodeServices(
        keys=KeyIndex.of(consumers),
        subjects={subject: consumer for consumer in consumers for subject in consumer.jwt_subjects},
        certificate_names={name: consumer for consumer in consumers for name in consumer.certificate_names},
        limits=live.limits,
        published_keys=live.published_keys,
        answers=live.answers,
        judges=live.judges,
        metrics=live.caller.metrics,
    )
    return build_filters(snapshot.policies, services)


def _cross_origins(plans: Iterable[RoutePlan], context: RequestContext) -> CrossOrigins:
    policies: list[CrossOrigin] = []
    refusal: GatewayError | None = None
    for plan in plans:
        if plan.filters.cross_origin is None:
            continue
        try:
            for screen in plan.filters.screens:
                screen.screen(context)
        except GatewayError as error:
            refusal = error
        else:
            policies.append(plan.filters.cross_origin)
    return CrossOrigins(policies, None if policies else refusal)


def _shorten_deadline(context: RequestContext) -> None:
    """Takes the client's own time limit into account, which can only shorten others."""
    sent = context.headers.get(b"x-janua-timeout-ms")
    if sent is None:
        return
    if not sent.isdigit() or not 0 < len(sent) <= 12 or int(sent) == 0:
        raise InvalidRequestError("x-janua-timeout-ms must be a whole number of milliseconds, at least 1")
    limit = asyncio.get_running_loop().time() + int(sent) / 1000
    context.deadline = limit if context.deadline is None else min(limit, context.deadline)


def _deadline(context: RequestContext, backend: BackendPlan, started: float) -> float:
    deadline = started + backend.request_timeout_s
    return deadline if context.deadline is None else min(deadline, context.deadline)


def _affinity_key(context: RequestContext, cluster: Cluster, inbound: Inbound[Any]) -> int | None:
    """The hash of what tells which requests belong together. Where nothing is there, and a cookie may, the client gets
    one to send with its next request."""
    policies = cluster.config.balancing.hash_policies
    key = request_key(policies, _HashedRequest(context, inbound))
    if key is not None:
        return key
    cookie = next((policy for policy in policies if isinstance(policy, HashCookie)), None)
    if cookie is None or context.protocol != "http":
        return None
    if context.sticky_cookie is None:
        context.sticky_cookie = (cookie.name, secrets.token_hex(16))
    return cookie_key(context.sticky_cookie[1])


def _settle_from(held: int, context: RequestContext) -> None:
    """Gives back what a service that did not answer has reserved, so that it is not charged for what another does."""
    while len(context.reservations) > held:
        context.reservations.pop().settle(context)


class _HashedRequest:
    """A request as hash policies see it."""

    __slots__ = ("_inbound", "client_address", "consumer_name", "headers")

    def __init__(self, context: RequestContext, inbound: Inbound[Any]) -> None:
        self.headers = context.headers
        self.consumer_name = context.consumer_name
        self.client_address = context.client_address
        self._inbound = inbound

    def prompt_prefix(self, size: int) -> bytes:
        return self._inbound.prompt_prefix(size)


def _may_ask_for(model: str, context: RequestContext, plan: RoutePlan) -> bool:
    """Whether the caller is allowed that model, by the policies up to the service that is called first."""
    context.model = model
    try:
        plan.authorize(context)
        plan.backends[plan.route.backends[0]].filters.authorize(context)
    except PermissionDeniedError:
        return False
    return True


def _listed_models(route: RouteConfig) -> Iterator[str]:
    for model in (*route.match.models, *route.advertised_models):
        if not model.endswith("*"):
            yield model
