import pytest
from janua.config.v1.route_pb2 import GrpcMatch, HeaderMatch, PathMatch, QueryParamMatch, Route, RouteMatch
from janua_resources.route_match import match_key, rough_key

FULL = RouteMatch(
    hosts=["a.example", "*.b.example"],
    path=PathMatch(prefix="/v1"),
    methods=["GET", "POST"],
    headers=[HeaderMatch(name="x-a", exact="1"), HeaderMatch(name="x-b", present=True)],
    query_params=[QueryParamMatch(name="q", regex="1"), QueryParamMatch(name="r", present=True)],
    models=["a", "b-*"],
)

FULL_IN_OTHER_WORDS = RouteMatch(
    hosts=["*.B.example", "A.example", "a.example"],
    path=PathMatch(prefix="/v1"),
    methods=["POST", "GET"],
    headers=[HeaderMatch(name="X-B", present=False, invert=True), HeaderMatch(name="X-A", exact="1")],
    query_params=[QueryParamMatch(name="r", present=True), QueryParamMatch(name="q", regex="1")],
    models=["b-*", "a"],
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Route(match=FULL), Route(match=FULL_IN_OTHER_WORDS)),
        (Route(), Route(match=RouteMatch())),
        (Route(name="a"), Route(name="b", policies=["p"])),
        (Route(match=RouteMatch(hosts=["[::1]"])), Route(match=RouteMatch(hosts=["0::1"]))),
        (Route(match=RouteMatch(path=PathMatch(prefix="/v1"))), Route(match=RouteMatch(path=PathMatch(prefix="/v1/")))),
        (
            Route(match=RouteMatch(grpc=GrpcMatch(service="a.B", method="C"))),
            Route(match=RouteMatch(path=PathMatch(exact="/a.B/C"))),
        ),
        (
            Route(match=RouteMatch(grpc=GrpcMatch(service="a.B"))),
            Route(match=RouteMatch(path=PathMatch(prefix="/a.B"))),
        ),
    ],
)
def test_matches_that_mean_the_same_are_the_same(one: Route, other: Route) -> None:
    assert match_key(one) == match_key(other)
    assert rough_key(one) == rough_key(other)


DIFFERENT = [
    Route(),
    Route(priority=1),
    Route(match=FULL),
    Route(match=RouteMatch(path=PathMatch())),
    Route(match=RouteMatch(path=PathMatch(exact="/v1"))),
    Route(match=RouteMatch(path=PathMatch(prefix="/v1"))),
    Route(match=RouteMatch(path=PathMatch(prefix="/V1"))),
    Route(match=RouteMatch(path=PathMatch(prefix="/"))),
    Route(match=RouteMatch(path=PathMatch(exact="/v1/"))),
    Route(match=RouteMatch(path=PathMatch(regex="/v1/"))),
    Route(match=RouteMatch(grpc=GrpcMatch(service="a.B"))),
    Route(match=RouteMatch(grpc=GrpcMatch(service="a.B", method="C"))),
    Route(match=RouteMatch(grpc=GrpcMatch(service="a.C"))),
    Route(match=RouteMatch(hosts=["a"])),
    Route(match=RouteMatch(hosts=["*.a"])),
    Route(match=RouteMatch(hosts=["not a host"])),
    Route(match=RouteMatch(methods=["GET"])),
    Route(match=RouteMatch(models=["a"])),
    Route(match=RouteMatch(models=["A"])),
    Route(match=RouteMatch(models=["*"])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a", exact="1")])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a", exact="1", invert=True)])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a", prefix="1")])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a", present=True)])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a", present=False)])),
    Route(match=RouteMatch(headers=[HeaderMatch(name="a")])),
    Route(match=RouteMatch(query_params=[QueryParamMatch(name="a", present=True)])),
    Route(match=RouteMatch(query_params=[QueryParamMatch(name="A", present=True)])),
]


def test_matches_that_mean_something_else_differ() -> None:
    assert len({match_key(route) for route in DIFFERENT}) == len(DIFFERENT)
