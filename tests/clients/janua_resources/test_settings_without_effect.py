"""Warnings about what is accepted and, as things stand, does nothing."""

import pytest
from google.protobuf.duration_pb2 import Duration
from janua.config.v1.route_pb2 import FALLBACK_ON_TIMEOUT, Backend, GrpcMatch, PathMatch, Route, RouteMatch
from janua.config.v1.upstream_pb2 import CircuitBreakers, Upstream
from janua_resources.settings_without_effect import without_effect
from janua_resources.violations import NO_EFFECT


def at(path: str, *models: str) -> Route:
    return Route(match=RouteMatch(path=PathMatch(exact=path), models=models))


def calling(service: str, method: str, *models: str) -> Route:
    return Route(match=RouteMatch(grpc=GrpcMatch(service=service, method=method), models=models))


def falling_back(*weights: int) -> Route:
    backends = [Backend(service=f"s{number}", weight=weight) for number, weight in enumerate(weights)]
    return Route(backends=backends, fallback_on=[FALLBACK_ON_TIMEOUT])


def limited(breakers: CircuitBreakers) -> Upstream:
    return Upstream(circuit_breakers=breakers)


@pytest.mark.parametrize(
    ("message", "field", "problem"),
    [
        (falling_back(1), "fallback_on", "no backend to go on to after backends[0]; add one, or leave it out"),
        (at("/v1/models"), "match.path.exact", "the node itself answers '/v1/models'"),
        (at("/v1/models/gemma", "gemma"), "match.path.exact", "never matches"),
        (at("/v2/health/ready"), "match.path.exact", "never matches"),
        (calling("grpc.health.v1.Health", "Check"), "match.grpc", "never matches"),
        (at("/own/way", "gemma-*"), "match.models", "requests to '/own/way' are passed through"),
        (calling("my.pkg.Service", "", "gemma"), "match.models", "no model is read from them"),
        (limited(CircuitBreakers(max_pending_requests=0)), "circuit_breakers.max_pending_requests", "add max_requests"),
        (
            limited(CircuitBreakers(queue_timeout=Duration(seconds=1), max_retries=1)),
            "circuit_breakers.queue_timeout",
            "add max_requests or max_connections",
        ),
    ],
)
def test_what_does_nothing_is_told(message: Route | Upstream, field: str, problem: str) -> None:
    [warning] = without_effect(message)
    assert (warning.field, warning.reason) == (field, NO_EFFECT)
    assert problem in warning.message


@pytest.mark.parametrize(
    "message",
    [
        Route(),
        Upstream(),
        # A weight of 0 may be for a while.
        falling_back(1, 0),
        at("/own/way"),
        at("/own/way", "*", "gemma"),
        at("/v1/chat/completions", "gemma"),
        at("/v2/models/iris/infer", "iris"),
        calling("my.pkg.Service", ""),
        calling("inference.GRPCInferenceService", "ModelInfer", "iris"),
        calling("inference.GRPCInferenceService", "", "iris"),
        Route(match=RouteMatch(path=PathMatch(prefix="/v1/models"), models=["gemma"])),
        limited(CircuitBreakers(max_retries=1)),
        limited(CircuitBreakers(max_pending_requests=1, max_requests=1)),
        limited(CircuitBreakers(queue_timeout=Duration(seconds=1), max_connections=1)),
    ],
    ids=str,
)
def test_what_does_something_is_not(message: Route | Upstream) -> None:
    assert list(without_effect(message)) == []
