"""Which route wins, against shared cases and a slow and obvious second opinion; and shares of backends that are exact
over time."""

import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import re2
import yaml
from google.protobuf.json_format import ParseDict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from janua.config.v1.route_pb2 import Route

from gateway.compile.route import compile_route
from gateway.config.snapshot import (
    BackendConfig,
    Exact,
    HeaderMatch,
    PathMatch,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RouteConfig,
    RouteMatch,
    Suffix,
)
from gateway.listeners.surfaces import RELAYED_SURFACES, SURFACES
from gateway.router import BackendChoice, Router, RoutesInUse

CASES = Path(__file__).parents[1] / "golden" / "routing_cases.yaml"
GRPC_METHODS = ("CreateChatCompletion", "StreamChatCompletion", "CreateEmbeddings")
INFERENCE_PATHS = {
    *SURFACES,
    *(path for path, surface in RELAYED_SURFACES.items() if surface.names_model),
    *(f"/janua.inference.v1.InferenceService/{method}" for method in GRPC_METHODS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What routing looks at."""

    host: str = ""
    path: str = "/v1/chat/completions"
    method: str = "POST"
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    is_inference: bool = True


def router_of(routes: Iterable[RouteConfig]) -> Router:
    return Router().changed((), routes)


def winner(routes: Iterable[RouteConfig], request: Request) -> str | None:
    route = router_of(routes).match(request)
    return None if route is None else route.name


# The cases shared with `janua explain`.


def golden() -> Iterator[Any]:
    for case in yaml.safe_load(CASES.read_text()):
        for number, request in enumerate(case["requests"]):
            yield pytest.param(case["routes"], request, id=f"{case['case']} [{number}]")


def request_of(written: Mapping[str, Any]) -> Request:
    return Request(
        host=written.get("host", ""),
        method=written.get("method", "POST"),
        path=written.get("path", "/v1/chat/completions"),
        headers={name.encode(): value.encode() for name, value in written.get("headers", {}).items()},
        query=written.get("query", {}),
        model=written.get("model", ""),
    )


@pytest.mark.parametrize("order", [1, -1], ids=["", "reversed"])
@pytest.mark.parametrize(("written", "asked"), list(golden()))
def test_golden_case(written: list[dict[str, Any]], asked: Mapping[str, Any], order: int) -> None:
    routes = [compile_route(ParseDict(route, Route())) for route in written[::order]]
    request = request_of(asked)
    if request.method != "POST" or request.path not in INFERENCE_PATHS:
        # Listeners ask the router for inference requests alone, which is all that a route without a path takes.
        routes = [route for route in routes if route.match.path is not None]
    assert winner(routes, request) == asked["expect"]


# A second opinion: every condition of every route is looked at, and the matching routes are sorted.


def host_rank(hosts: Sequence[str], host: str) -> int | None:
    """0 for an exact host, then longer wildcards before shorter ones, then any; None if no pattern takes the host."""
    ranks = [0 for pattern in hosts if pattern == host]
    ranks += [1000 - len(pattern) for pattern in hosts if pattern[:2] == "*." and host.endswith(pattern[1:])]
    return min(ranks, default=None) if hosts else 1000


def path_rank(match: PathMatch | None, path: str) -> int | None:
    match match:
        case None:
            return 2000
        case Exact(value):
            return 0 if path == value else None
        case Prefix(value):
            bare = value.rstrip("/")
            return 1000 - len(bare) if path == bare or path.startswith(bare + "/") else None
        case Regex():
            return 1500 if match.compiled.fullmatch(path) else None


def model_rank(models: Sequence[str], model: str) -> int | None:
    ranks = [0 for pattern in models if pattern == model]
    ranks += [1000 - len(pattern) for pattern in models if pattern[-1:] == "*" and model.startswith(pattern[:-1])]
    return min(ranks, default=None) if models else 1000


def value_holds(match: Exact | Prefix | Suffix | Regex | Present, value: str | None) -> bool:
    match match:
        case Present(wanted):
            return wanted == (value is not None)
        case Exact(expected):
            return value == expected
        case Prefix(expected):
            return value is not None and value.startswith(expected)
        case Suffix(expected):
            return value is not None and value.endswith(expected)
        case Regex():
            return value is not None and match.compiled.fullmatch(value) is not None


def rank(route: RouteConfig, request: Request) -> tuple[object, ...] | None:
    match = route.match
    ranks = (
        host_rank(match.hosts, request.host),
        path_rank(match.path, request.path),
        (0 if request.method in match.methods else None) if match.methods else 1,
    )
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers.items()}
    holds = all(
        value_holds(each.value, headers.get(each.name.decode())) != each.invert for each in match.headers
    ) and all(value_holds(each.value, request.query.get(each.name)) for each in match.query)
    model = model_rank(match.models, request.model)
    if None in ranks or model is None or not holds:
        return None
    return (*ranks, -len(match.headers), -len(match.query), model, route.priority, route.name)


def plainly_the_winner(routes: Iterable[RouteConfig], request: Request) -> str | None:
    ranked = [(found, route.name) for route in routes if (found := rank(route, request)) is not None]
    return min(ranked)[1] if ranked else None


def regex(pattern: str) -> Regex:
    return Regex(pattern, re2.compile(pattern))


HOSTS = ("a.example", "b.a.example", "example", "*.example", "*.a.example", "*.com")
PATHS = ("/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions", "/v1/chats", "//v1", "/v1//chat", "/x/")
MODELS = ("gemma-3", "gemma-3-270m", "gemma", "org/m:1")
VALUES = ("", "a", "ab", "b")

values = st.one_of(
    st.sampled_from(VALUES).map(Exact),
    st.sampled_from(VALUES).map(Prefix),
    st.sampled_from(VALUES).map(Suffix),
    st.sampled_from([regex("a*"), regex("a|ab"), regex("[^a]")]),
    st.booleans().map(Present),
)
query_values = st.one_of(
    st.sampled_from(VALUES).map(Exact), st.sampled_from([regex("a*"), regex("a|ab")]), st.booleans().map(Present)
)
matches = st.builds(
    RouteMatch,
    hosts=st.lists(st.sampled_from(HOSTS), max_size=2).map(tuple),
    path=st.one_of(
        st.none(),
        st.sampled_from(PATHS).map(Exact),
        st.sampled_from(PATHS).map(Prefix),
        st.sampled_from([regex("/v1/.*"), regex("/v1|/x/"), regex(".*")]),
    ),
    methods=st.frozensets(st.sampled_from(["GET", "POST"])),
    headers=st.lists(
        st.builds(HeaderMatch, name=st.sampled_from([b"h", b"i"]), value=values, invert=st.booleans()), max_size=2
    ).map(tuple),
    query=st.lists(st.builds(QueryMatch, name=st.sampled_from(["q", "r"]), value=query_values), max_size=2).map(tuple),
    models=st.lists(st.sampled_from([*MODELS, "*", "g*", "gemma-*", "gemma-3*"]), max_size=2).map(tuple),
)
routes = st.lists(
    st.builds(
        RouteConfig,
        name=st.text(string.ascii_lowercase, min_size=1, max_size=3),
        match=matches,
        backends=st.just(()),
        priority=st.integers(-2, 2),
    ),
    max_size=12,
    unique_by=lambda route: route.name,
)
requests = st.builds(
    Request,
    host=st.sampled_from(["", "a.example", "b.a.example", "c.b.a.example", "example", "x.com", "com", ".example"]),
    path=st.sampled_from([*PATHS, "/v1/chat/", "/v2"]),
    method=st.sampled_from(["GET", "POST", "PUT"]),
    headers=st.dictionaries(st.sampled_from([b"h", b"i"]), st.sampled_from([b"", b"a", b"ab"])),
    query=st.dictionaries(st.sampled_from(["q", "r"]), st.sampled_from(VALUES)),
    model=st.sampled_from(["", *MODELS, "other"]),
)


@settings(max_examples=100)
@given(routes, requests)
def test_the_same_route_wins_as_in_the_second_opinion(written: list[RouteConfig], request: Request) -> None:
    assert winner(written, request) == plainly_the_winner(written, request)


@settings(max_examples=100)
@given(st.lists(matches, min_size=2, max_size=4), requests, st.permutations(range(4)))
def test_order_of_the_routes_does_not_matter(written: list[RouteMatch], request: Request, order: list[int]) -> None:
    entries = [RouteConfig(name=f"r{number}", match=match, backends=()) for number, match in enumerate(written)]
    shuffled = [entries[place] for place in order if place < len(entries)]
    assert winner(shuffled, request) == winner(entries, request)


@settings(max_examples=100)
@given(routes, requests)
@example([], Request())
def test_reachable_are_the_routes_that_take_the_host(written: list[RouteConfig], request: Request) -> None:
    reachable = [route.name for route in router_of(written).reachable(request.host)]
    assert len(reachable) == len(set(reachable))
    assert set(reachable) == {route.name for route in written if host_rank(route.match.hosts, request.host) is not None}


@settings(max_examples=100)
@given(routes, requests)
def test_candidates_are_the_routes_that_win_for_some_model_and_headers(
    written: list[RouteConfig], request: Request
) -> None:
    found = router_of(written).candidates(replace(request, model="", headers={}))
    names = {route.name for route in found}
    if (wins := winner(written, request)) is not None:
        assert wins in names
    for route in written:
        bare = replace(route, match=replace(route.match, models=(), headers=()))
        assert (route.name in names) == (rank(bare, request) is not None)


@settings(max_examples=100)
@given(routes, routes, requests)
def test_changed_router_is_as_one_made_anew(
    written: list[RouteConfig], rewritten: list[RouteConfig], request: Request
) -> None:
    before = router_of(written)
    after = before.changed(written, rewritten)
    assert Counter(route.name for route in after.candidates(request)) == Counter(
        route.name for route in router_of(rewritten).candidates(request)
    )
    assert after.match(request) == router_of(rewritten).match(request)
    assert before.match(request) == router_of(written).match(request)
    assert after.changed(rewritten, ())._hosts == {}


@settings(max_examples=100)
@given(st.lists(routes, min_size=1, max_size=4), routes, requests, st.integers(0, 3))
def test_routes_are_followed_from_wherever_another_has_come(
    others: list[list[RouteConfig]], written: list[RouteConfig], request: Request, steps: int
) -> None:
    in_use = RoutesInUse(routes_a_step=2)
    for other in others:
        for _ in zip(in_use.follow({route.name: route for route in other}), range(steps), strict=False):
            pass
    router = in_use.router_of({route.name: route for route in written})
    assert router.match(request) == router_of(written).match(request)


def test_thousands_of_models_and_hosts_are_not_looked_through() -> None:
    looked_at = 0

    class CountingRoute(RouteConfig):
        def __getattribute__(self, name: str) -> Any:
            nonlocal looked_at
            looked_at += name == "match"
            return super().__getattribute__(name)

    def route(number: int) -> RouteConfig:
        match = RouteMatch(hosts=(f"h{number % 50}.example",), models=(f"model-{number}",), methods=frozenset({"POST"}))
        return CountingRoute(name=f"r{number}", match=match, backends=())

    router = router_of(route(number) for number in range(5000))
    looked_at = 0
    found = router.match(Request(host="h7.example", model="model-4007"))
    assert found is not None
    assert looked_at <= 3
    assert found.name == "r4007"


# Backends.


def backends(weights: Iterable[int]) -> list[BackendConfig]:
    return [BackendConfig(service=f"s{number}", weight=weight) for number, weight in enumerate(weights)]


def taken(choice: BackendChoice, turns: int, dead: Collection[str] = ()) -> list[str]:
    """The services of so many choices, while some are dead."""
    chosen = [choice.choose(lambda backend: backend.service not in dead) for _ in range(turns)]
    return [backend.service for backend in chosen if backend is not None]


weights_of = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@given(weights_of, st.integers(1, 3))
def test_shares_are_exact_over_every_round(weights: list[int], rounds: int) -> None:
    choice = BackendChoice(backends(weights))
    for _ in range(rounds):
        counts = Counter(taken(choice, sum(weights)))
        assert [counts[f"s{number}"] for number in range(len(weights))] == weights


@given(weights_of)
def test_shares_are_spread_evenly(weights: list[int]) -> None:
    """After any number of turns nobody is a whole turn behind or ahead of its share, as far as that can be."""
    choice = BackendChoice(backends(weights))
    total = sum(weights)
    had = Counter[str]()
    for turn in range(1, 2 * total + 1):
        had.update(taken(choice, 1))
        for number, weight in enumerate(weights):
            assert abs(had[f"s{number}"] - turn * weight / total) < len(weights)


def test_heavy_backend_alternates_with_the_light_ones() -> None:
    assert taken(BackendChoice(backends([4, 1, 1])), 6) == ["s0", "s0", "s1", "s0", "s2", "s0"]


@pytest.mark.parametrize("weights", [[], [0], [0, 0, 0]])
def test_without_weight_nobody_is_chosen(weights: list[int]) -> None:
    assert taken(BackendChoice(backends(weights)), 1) == []


def test_backend_without_weight_gets_nothing() -> None:
    assert set(taken(BackendChoice(backends([0, 3, 0])), 9)) == {"s1"}


def test_large_weights_do_not_add_up_to_anything_else() -> None:
    assert Counter(taken(BackendChoice(backends([100_000, 1])), 100_001)) == {"s0": 100_000, "s1": 1}


TIERS = [
    BackendConfig(service="a", weight=3),
    BackendConfig(service="b", weight=1),
    BackendConfig(service="c", priority=1),
    BackendConfig(service="d", priority=5),
]


def test_lowest_tier_with_a_live_backend_takes_all() -> None:
    assert Counter(taken(BackendChoice(TIERS), 8)) == {"a": 6, "b": 2}
    assert Counter(taken(BackendChoice(TIERS), 8, dead={"a"})) == {"b": 8}
    assert Counter(taken(BackendChoice(TIERS), 8, dead={"a", "b"})) == {"c": 8}
    assert Counter(taken(BackendChoice(TIERS), 8, dead={"a", "b", "c"})) == {"d": 8}


def test_dead_backends_are_better_than_none() -> None:
    assert Counter(taken(BackendChoice(TIERS), 8, dead={"a", "b", "c", "d"})) == {"a": 6, "b": 2}


def test_what_has_been_tried_is_not_chosen_again() -> None:
    choice = BackendChoice(TIERS)
    tried: list[BackendConfig] = []
    while (backend := choice.choose(lambda _: True, tried)) is not None:
        tried.append(backend)
    assert [backend.service for backend in tried] == ["a", "b", "c", "d"]


def test_fallback_to_a_service_that_has_failed_before_ends() -> None:
    """Each line of a route is tried once, whichever services they name: a, b, a and the same a again."""
    choice = BackendChoice(
        [
            BackendConfig(service="a"),
            BackendConfig(service="b", priority=1),
            BackendConfig(service="a", priority=2),
            BackendConfig(service="a", priority=2),
        ]
    )
    tried: list[BackendConfig] = []
    while (backend := choice.choose(lambda _: True, tried)) is not None:
        tried.append(backend)
    assert [backend.service for backend in tried] == ["a", "b", "a"]


def test_live_backend_of_a_later_tier_comes_before_a_dead_one() -> None:
    choice = BackendChoice(TIERS)
    order: list[BackendConfig] = []
    while (backend := choice.choose(lambda each: each.service in ("c", "d"), order)) is not None:
        order.append(backend)
    assert [backend.service for backend in order] == ["c", "d", "a", "b"]


def test_route_without_a_path_is_for_inference_alone() -> None:
    routes = [
        RouteConfig(name="models", match=RouteMatch(), backends=()),
        RouteConfig(name="files", match=RouteMatch(path=Prefix("/files")), backends=()),
    ]
    assert winner(routes, Request(path="/files/1", is_inference=False)) == "files"
    assert winner(routes, Request(path="/other", is_inference=False)) is None
    assert winner(routes, Request(path="/other")) == "models"
