"""Settings that nothing comes of as things stand. Warnings, for a change elsewhere may give them their effect."""

from collections.abc import Iterator
from typing import Final, assert_never

from janua.config.v1.route_pb2 import Route, RouteMatch
from janua.config.v1.upstream_pb2 import Upstream

from janua_resources.quoting import quoted
from janua_resources.surfaces import Surface, is_inference_service, surface_of
from janua_resources.violations import NO_EFFECT, Violation, violation

# Circuit breakers that make requests wait, and what is said of those that wait.
_BOUNDS: Final = frozenset({"max_requests", "max_connections"})
_OF_WAITING: Final = ("max_pending_requests", "queue_timeout")


def without_effect(message: Route | Upstream) -> Iterator[Violation]:
    """A warning for each."""
    match message:
        case Route():
            yield from _of_route(message)
        case Upstream():
            yield from _of_upstream(message)
        case _:
            assert_never(message)


def _of_route(route: Route) -> Iterator[Violation]:
    if route.fallback_on and len(route.backends) == 1:
        text = "has no effect: there is no backend to go on to after backends[0]; add one, or leave it out"
        yield violation(route, "fallback_on", text, NO_EFFECT)
    path = _one_path(route.match)
    if path is None:
        return
    match surface_of(path):
        case Surface.OWN:
            field = "match.grpc" if route.match.HasField("grpc") else "match.path.exact"
            yield violation(route, field, f"never matches: the node itself answers {quoted(path)}", NO_EFFECT)
        case Surface.PASSED_THROUGH if route.match.models and "*" not in route.match.models:
            text = f"never match: requests to {quoted(path)} are passed through, and no model is read from them"
            yield violation(route, "match.models", text, NO_EFFECT)


def _one_path(match: RouteMatch) -> str | None:
    """The path of all requests that match, or of a gRPC service any of its paths; None if there are others."""
    if match.path.HasField("exact"):
        return match.path.exact
    if not match.HasField("grpc") or (is_inference_service(match.grpc.service) and not match.grpc.method):
        return None
    return f"/{match.grpc.service}/{match.grpc.method}"


def _of_upstream(upstream: Upstream) -> Iterator[Violation]:
    given = {descriptor.name for descriptor, _ in upstream.circuit_breakers.ListFields()}
    if given.isdisjoint(_BOUNDS):
        for field in (field for field in _OF_WAITING if field in given):
            text = "has no effect: no request waits without a bound; add max_requests or max_connections"
            yield violation(upstream, f"circuit_breakers.{field}", text, NO_EFFECT)
