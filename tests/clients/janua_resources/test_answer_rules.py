"""Routes seen alone: it is clear who answers, and what is said about backends has backends that it is about."""

import pytest
from google.protobuf.duration_pb2 import Duration
from janua.config.v1.route_pb2 import (
    FALLBACK_ON_TIMEOUT,
    FALLBACK_ON_UNSPECIFIED,
    Backend,
    DirectResponse,
    GrpcMatch,
    Mirror,
    PathMatch,
    Redirect,
    Rewrite,
    Route,
    RouteMatch,
)
from janua.config.v1.service_pb2 import RetryPolicy, Timeouts
from janua_resources.rules import check
from janua_resources.violations import INVALID_FIELD, UNKNOWN_KIND

BACKENDS = [Backend(service="s"), Backend(service="t", priority=1)]
GONE = DirectResponse(status=410)
ELSEWHERE = Redirect(host="new.example")


def at(**path: str) -> RouteMatch:
    return RouteMatch(path=PathMatch(**path))


def calling(service: str, method: str = "") -> RouteMatch:
    return RouteMatch(grpc=GrpcMatch(service=service, method=method))


def rewriting(match: RouteMatch, **rewrite: str) -> Route:
    return Route(name="r", match=match, backends=BACKENDS, rewrite=Rewrite(**rewrite))


def redirecting(match: RouteMatch | None = None, **redirect: str) -> Route:
    return Route(name="r", match=match, redirect=Redirect(**redirect))  # type: ignore[arg-type]


RIGHT = [
    Route(
        name="all",
        backends=BACKENDS,
        fallback_on=[FALLBACK_ON_TIMEOUT],
        mirror=Mirror(service="shadow"),
        retry_policy=RetryPolicy(),
        timeouts=Timeouts(request=Duration(seconds=1)),
        advertised_models=["m"],
    ),
    rewriting(at(prefix="/api"), path_prefix="/"),
    rewriting(at(exact="/api"), path_prefix="/other/", host="inner.example:8080"),
    rewriting(at(regex="/a.*"), host="inner.example"),
    rewriting(at(prefix="/v1"), path_prefix="/base/v1"),
    rewriting(calling("my.pkg.Service"), path_prefix="/their.pkg.Service"),
    rewriting(calling("my.pkg.Service", "Call"), host="inner.example"),
    redirecting(host="new.example"),
    redirecting(scheme="https"),
    redirecting(at(exact="/old"), path="/new"),
    redirecting(at(exact="/same"), path="/same", host="new.example:8443"),
    redirecting(at(prefix="/old"), path="/old/index.html"),
    Route(name="gone", direct_response=GONE),
    Route(name="empty", direct_response=DirectResponse(status=204)),
    Route(name="text", direct_response=DirectResponse(status=200, body="ok", content_type="text/html"), policies=["k"]),
]


@pytest.mark.parametrize("route", RIGHT, ids=str)
def test_right_routes_have_no_violations(route: Route) -> None:
    assert check(route) == []


@pytest.mark.parametrize(
    ("route", "field", "problem"),
    [
        (Route(), "backends", "is empty; name a service, or give redirect or direct_response"),
        (Route(redirect=ELSEWHERE, direct_response=GONE), "direct_response", "is not together with redirect"),
        (Route(redirect=ELSEWHERE, backends=BACKENDS), "redirect", "is not together with backends"),
        (Route(direct_response=GONE, backends=BACKENDS), "direct_response", "is not together with backends"),
        (
            Route(direct_response=GONE, retry_policy=RetryPolicy()),
            "retry_policy",
            "has no effect with direct_response; leave it out",
        ),
        (Route(redirect=ELSEWHERE, timeouts=Timeouts()), "timeouts", "has no effect with redirect; leave it out"),
        (Route(redirect=ELSEWHERE, fallback_on=[FALLBACK_ON_TIMEOUT]), "fallback_on", "has no effect with redirect"),
        (Route(redirect=ELSEWHERE, mirror=Mirror(service="s")), "mirror", "has no effect with redirect"),
        (Route(redirect=ELSEWHERE, rewrite=Rewrite(host="a")), "rewrite", "has no effect with redirect"),
        (Route(direct_response=GONE, advertised_models=["m"]), "advertised_models", "has no effect with"),
        (
            Route(backends=BACKENDS, fallback_on=[FALLBACK_ON_TIMEOUT, FALLBACK_ON_UNSPECIFIED]),
            "fallback_on[1]",
            "FALLBACK_ON_UNSPECIFIED is not a failure",
        ),
        (rewriting(at(prefix="/a")), "rewrite", "changes nothing; give path_prefix or host"),
        (rewriting(RouteMatch(models=["m"]), host="a"), "rewrite", "is only for requests that are passed through"),
        (rewriting(at(exact="/v1/embeddings"), host="a"), "rewrite", "give a match.path or match.grpc that is not"),
        (rewriting(at(exact="/v2/models/iris/infer"), path_prefix="/a"), "rewrite", "is only for requests that are"),
        (rewriting(calling("inference.GRPCInferenceService"), host="a"), "rewrite", "is only for requests that are"),
        (
            rewriting(calling("janua.inference.v1.InferenceService", "CreateEmbeddings"), host="a"),
            "rewrite",
            "is only for requests that are passed through",
        ),
        (rewriting(at(regex="/a.*"), path_prefix="/b"), "rewrite.path_prefix", "needs match.path.prefix"),
        (rewriting(at(prefix="/a"), path_prefix="/b?c"), "rewrite.path_prefix", "is not a path"),
        (rewriting(at(prefix="/a"), path_prefix="/b c"), "rewrite.path_prefix", "is not a path"),
        (rewriting(at(prefix="/a"), path_prefix="/b/../c"), "rewrite.path_prefix", "'..'"),
        (rewriting(at(prefix="/a"), host="a b"), "rewrite.host", "is not a host name"),
        (redirecting(), "redirect", "leads back to where it came from; give scheme, host or path"),
        (redirecting(at(exact="/same"), path="/same"), "redirect.path", "give another path, or a host"),
        (redirecting(host="a/b"), "redirect.host", "is not a host name"),
        (
            Route(direct_response=DirectResponse(status=204, body="x")),
            "direct_response.body",
            "has no place in an answer with status 204; leave it out, or give another status",
        ),
        (
            Route(direct_response=DirectResponse(status=200, content_type="text/plain\r\nx: y")),
            "direct_response.content_type",
            "has control characters",
        ),
        (
            Route(match=RouteMatch(grpc=GrpcMatch(service="a.B"), path=PathMatch(prefix="/a.B")), backends=BACKENDS),
            "match.grpc",
            "is not together with match.path; give one of them",
        ),
        (
            Route(match=RouteMatch(grpc=GrpcMatch(service="a.B"), methods=["POST", "GET"]), backends=BACKENDS),
            "match.methods",
            "gRPC calls are POST; leave the methods out",
        ),
    ],
)
def test_a_route_whose_answer_is_not_clear_is_refused(route: Route, field: str, problem: str) -> None:
    [found] = [violation for violation in check(route) if violation.reason != UNKNOWN_KIND]
    assert (found.field, found.reason) == (field, INVALID_FIELD)
    assert problem in found.message


def test_everything_that_has_no_effect_is_named_at_once() -> None:
    route = Route(
        redirect=ELSEWHERE,
        retry_policy=RetryPolicy(),
        timeouts=Timeouts(),
        fallback_on=[FALLBACK_ON_TIMEOUT],
        mirror=Mirror(service="s"),
        rewrite=Rewrite(host="a"),
        advertised_models=["m"],
    )
    assert [violation.field for violation in check(route)] == [
        "retry_policy",
        "timeouts",
        "advertised_models",
        "fallback_on",
        "mirror",
        "rewrite",
    ]
