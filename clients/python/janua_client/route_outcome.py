"""What becomes of a request that a route takes: who answers it, and what they see of it. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from janua.config.v1.route_pb2 import (
    FALLBACK_ON_OVERLOADED,
    FALLBACK_ON_RATE_LIMITED,
    FALLBACK_ON_TIMEOUT,
    FALLBACK_ON_UNAVAILABLE,
    Backend,
    FallbackOn,
    Redirect,
    Route,
    RouteMatch,
)
from janua_resources.field_values import enum_prefix
from janua_resources.surfaces import Surface, surface_of

from janua_client.route_explanation import RequestFacts

_DEFAULT_FALLBACK_ON = (
    FALLBACK_ON_UNAVAILABLE,
    FALLBACK_ON_RATE_LIMITED,
    FALLBACK_ON_OVERLOADED,
    FALLBACK_ON_TIMEOUT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendShare:
    """One backend: its tier, and its share of what that tier gets, in per cent. `model` is what it is asked for, before
    the service's own names; empty for what is passed through."""

    service: str
    priority: int
    weight: int
    percent: float
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Where copies of a share of the requests go, in per cent."""

    service: str
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Backends answer. `fallback_on` are the failures after which the next one is tried. `path` and `host` are what a
    backend sees instead of what was sent; None: that is not changed."""

    backends: Sequence[BackendShare]
    fallback_on: Sequence[str]
    mirror: Copies | None
    path: str | None
    host: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirected:
    """The route sends the client elsewhere."""

    status: int
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The route answers itself."""

    status: int
    body: str


RouteOutcome: TypeAlias = Called | Redirected | Answered


def outcome(route: Route, request: RequestFacts, *, authority: str, target: str) -> RouteOutcome:
    """What becomes of a request that the route takes. `authority` is its host with the port, `target` its path with
    the query, both as sent."""
    if route.HasField("redirect"):
        location = _location(route.redirect, authority, target)
        return Redirected(status=route.redirect.status or 302, location=location)
    if route.HasField("direct_response"):
        return Answered(status=route.direct_response.status, body=route.direct_response.body)
    surface = surface_of(request.path)
    # What a node understands, it asks for in the backend's own way.
    rewrites = route.HasField("rewrite") and surface in (Surface.PASSED_THROUGH, Surface.RELAYED)
    return Called(
        backends=_shares(route.backends, None if surface is Surface.PASSED_THROUGH else request.model),
        fallback_on=[_failure(number) for number in route.fallback_on or _DEFAULT_FALLBACK_ON],
        mirror=_copies(route) if route.HasField("mirror") else None,
        path=_rewritten(request.path, route) if rewrites and route.rewrite.HasField("path_prefix") else None,
        host=route.rewrite.host or None if rewrites else None,
    )


def _shares(backends: Sequence[Backend], model: str | None) -> Sequence[BackendShare]:
    """The backends, tier by tier, each in the order of the route. `model` None: nobody reads which one is asked for."""
    totals: defaultdict[int, int] = defaultdict(int)
    for backend in backends:
        totals[backend.priority] += _weight(backend)
    return [
        BackendShare(
            service=backend.service,
            priority=backend.priority,
            weight=_weight(backend),
            percent=100 * _weight(backend) / totals[backend.priority] if totals[backend.priority] else 0.0,
            model="" if model is None else backend.model_override or model,
        )
        for backend in sorted(backends, key=lambda each: each.priority)
    ]


def _weight(backend: Backend) -> int:
    return backend.weight if backend.HasField("weight") else 1


def _copies(route: Route) -> Copies:
    mirror = route.mirror
    return Copies(service=mirror.service, percent=mirror.percent if mirror.HasField("percent") else 100.0)


def _failure(number: FallbackOn.ValueType) -> str:
    return FallbackOn.Name(number).removeprefix(enum_prefix(FallbackOn.DESCRIPTOR))


def _location(redirect: Redirect, authority: str, target: str) -> str:
    """As nodes write it: what is not given stays as requested; without host and scheme it is relative."""
    path = redirect.path or target
    if redirect.scheme:
        return f"{redirect.scheme}://{redirect.host or authority}{path}"
    return f"//{redirect.host}{path}" if redirect.host else path


def _rewritten(path: str, route: Route) -> str:
    replacement = route.rewrite.path_prefix
    prefix = _prefix(route.match)
    if prefix is None:
        return replacement
    replaced = replacement.rstrip("/") + path[len(prefix) :]
    return replaced if replaced.startswith("/") else f"/{replaced}"


def _prefix(match: RouteMatch) -> str | None:
    """What a rewrite replaces, without a slash at its end; None for the whole path."""
    if match.HasField("grpc"):
        return None if match.grpc.method else f"/{match.grpc.service}"
    return match.path.prefix.rstrip("/") if match.path.HasField("prefix") else None
