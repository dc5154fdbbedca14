"""Which route a request takes, and why not the others. Pure.

The gateway decides with compiled tables; this reads the routes as they are written and explains. Both run the cases in
`tests/golden/routing_cases.yaml`, so they cannot come to differ.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import re2
from janua.config.v1.route_pb2 import GrpcMatch, HeaderMatch, PathMatch, QueryParamMatch, Route
from janua_resources.hosts import pattern_covers
from janua_resources.surfaces import inference_methods, is_for_model


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What routing looks at. A gRPC call is a `POST` of `/package.Service/Method` whose host is its metadata `host`."""

    host: str
    """In lower case, without port."""
    method: str
    path: str
    headers: Mapping[str, str]
    """By name in lower case; values of a repeated header are joined by `, `."""
    query: Mapping[str, str]
    """Of a repeated parameter the first value."""
    model: str
    """Empty if the request names none."""


class Outcome(StrEnum):
    """What becomes of a route for a request."""

    WINS = "wins"
    LOSES = "loses"
    """All its conditions hold, but another route is preferred."""
    DOES_NOT_MATCH = "does not match"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVerdict:
    """What becomes of one route, and why."""

    route: str
    outcome: Outcome
    why: str


def explain(routes: Iterable[Route], request: RequestFacts) -> tuple[RouteVerdict, ...]:
    """Judges every route: the winner first, then those that match too, then those that do not, by name.

    Raises `re2.error` for a regex that does not compile; check the routes first.
    """
    matching: list[_Candidate] = []
    others: list[RouteVerdict] = []
    for route in routes:
        judged = _judge(route, request)
        if isinstance(judged, _Candidate):
            matching.append(judged)
        else:
            others.append(RouteVerdict(route=route.name, outcome=Outcome.DOES_NOT_MATCH, why=judged.why))
    matching.sort(key=lambda candidate: candidate.preference)
    verdicts = [_place(candidate, place, matching) for place, candidate in enumerate(matching)]
    return (*verdicts, *sorted(others, key=lambda verdict: verdict.route))


@dataclass(frozen=True, slots=True)
class _Fit:
    """One condition holds. The lower `rank` is preferred."""

    rank: int
    how: str


@dataclass(frozen=True, slots=True)
class _Miss:
    """One condition does not hold."""

    why: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    route: Route
    fits: tuple[_Fit, ...]

    @property
    def preference(self) -> tuple[tuple[int, ...], int, str]:
        return tuple(fit.rank for fit in self.fits), self.route.priority, self.route.name


def _judge(route: Route, request: RequestFacts) -> _Candidate | _Miss:
    fits: list[_Fit] = []
    for condition in _CONDITIONS:
        judged = condition(route, request)
        if isinstance(judged, _Miss):
            return judged
        fits.append(judged)
    return _Candidate(route, tuple(fits))


def _place(candidate: _Candidate, place: int, ranking: list[_Candidate]) -> RouteVerdict:
    winner = ranking[0]
    if place == 0:
        runner_up = ranking[1] if len(ranking) > 1 else None
        why = _why_preferred(winner, runner_up) if runner_up else "the only route that matches"
        return RouteVerdict(route=candidate.route.name, outcome=Outcome.WINS, why=why)
    why = f"matches, but {winner.route.name!r} is preferred: {_why_preferred(winner, candidate)}"
    return RouteVerdict(route=candidate.route.name, outcome=Outcome.LOSES, why=why)


def _why_preferred(better: _Candidate, worse: _Candidate) -> str:
    for first, second in zip(better.fits, worse.fits, strict=True):
        if first.rank != second.rank:
            return f"{first.how} goes before {second.how}"
    if better.route.priority != worse.route.priority:
        return f"equally specific, and priority {better.route.priority} goes before {worse.route.priority}"
    return f"equally specific, and of equal priority: {better.route.name!r} comes first by name"


def _host(route: Route, request: RequestFacts) -> _Fit | _Miss:
    patterns = route.match.hosts
    if not patterns:
        return _Fit(_LAST, "any host")
    covering = [pattern for pattern in map(str.lower, patterns) if pattern_covers(pattern, request.host)]
    if not covering:
        return _Miss(f"host {request.host or '(none)'!r} is not {_any_of(patterns)}")
    fits = [_Fit(-len(each), f"wildcard host {each!r}") for each in covering if each.startswith("*.")]
    fits += [_Fit(_FIRST, f"host {each!r}") for each in covering if not each.startswith("*.")]
    return min(fits, key=lambda fit: fit.rank)


def _path(route: Route, request: RequestFacts) -> _Fit | _Miss:
    if route.match.HasField("grpc"):
        return _grpc(route.match.grpc, request)
    if not route.match.HasField("path"):
        return _inference_surface(request)
    path = route.match.path
    match path.WhichOneof("kind"):
        case "exact" if request.path == path.exact:
            return _Fit(_FIRST, f"path {path.exact!r}")
        case "prefix" if _begins(request.path, path.prefix.rstrip("/")):
            return _Fit(-len(path.prefix.rstrip("/")), f"path prefix {path.prefix!r}")
        case "regex" if re2.fullmatch(path.regex, request.path):
            return _Fit(_LAST - 1, f"path regex {path.regex!r}")
    return _Miss(f"path {request.path!r} {_unlike_path(path)}")


def _grpc(match: GrpcMatch, request: RequestFacts) -> _Fit | _Miss:
    """Ranked as the path that it stands for: a method as an exact one, a service as a prefix."""
    service = f"/{match.service}"
    if not match.method:
        if _begins(request.path, service):
            return _Fit(-len(service), f"gRPC service {match.service!r}")
        return _Miss(f"path {request.path!r} is no method of the gRPC service {match.service!r}")
    if request.path == f"{service}/{match.method}":
        return _Fit(_FIRST, f"gRPC method {match.service}/{match.method}")
    return _Miss(f"path {request.path!r} is not the gRPC method '{service}/{match.method}'")


def _inference_surface(request: RequestFacts) -> _Fit | _Miss:
    if is_for_model(request.path) and request.method in inference_methods(request.path):
        return _Fit(_LAST, "any inference path")
    return _Miss(
        f"{request.method} {request.path} is no inference request, and the route has neither `path` nor `grpc`"
    )


def _begins(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _unlike_path(path: PathMatch) -> str:
    match path.WhichOneof("kind"):
        case "exact":
            return f"is not {path.exact!r}"
        case "prefix":
            return f"is not {path.prefix!r} and does not begin with {path.prefix.rstrip('/') + '/'!r}"
        case "regex":
            return f"does not match the regex {path.regex!r}"
        case None:
            return "cannot be compared: `path` is empty"


def _method(route: Route, request: RequestFacts) -> _Fit | _Miss:
    methods = route.match.methods
    if not methods:
        return _Fit(_LAST, "any method")
    if request.method not in methods:
        return _Miss(f"method {request.method!r} is not {_any_of(methods)}")
    return _Fit(_FIRST, f"method {request.method!r}")


def _headers(route: Route, request: RequestFacts) -> _Fit | _Miss:
    conditions = route.match.headers
    for condition in conditions:
        value = request.headers.get(condition.name.lower())
        if _value_holds(condition, value) == condition.invert:
            but = " (inverted)" if condition.invert else ""
            return _Miss(f"header {condition.name!r} {_is(value)}, wanted {_wanted(condition)}{but}")
    return _Fit(-len(conditions), _count(len(conditions), "header condition"))


def _query(route: Route, request: RequestFacts) -> _Fit | _Miss:
    conditions = route.match.query_params
    for condition in conditions:
        value = request.query.get(condition.name)
        if not _value_holds(condition, value):
            return _Miss(f"query parameter {condition.name!r} {_is(value)}, wanted {_wanted(condition)}")
    return _Fit(-len(conditions), _count(len(conditions), "query condition"))


def _model(route: Route, request: RequestFacts) -> _Fit | _Miss:
    patterns = route.match.models
    if not patterns:
        return _Fit(_LAST, "any model")
    if request.model in patterns:
        return _Fit(_FIRST, f"model {request.model!r}")
    prefixes = [each for each in patterns if each.endswith("*") and request.model.startswith(each[:-1])]
    if not prefixes:
        return _Miss(f"model {request.model!r} is not {_any_of(patterns)}" if request.model else "no model is named")
    longest = max(prefixes, key=len)
    return _Fit(-len(longest), f"model pattern {longest!r}")


_FIRST, _LAST = -(2**31), 2**31  # ranks before and after those made of lengths and counts

_CONDITIONS: tuple[Callable[[Route, RequestFacts], _Fit | _Miss], ...] = (
    _host,
    _path,
    _method,
    _headers,
    _query,
    _model,
)


def _value_holds(condition: HeaderMatch | QueryParamMatch, value: str | None) -> bool:
    kind = condition.WhichOneof("kind")
    if kind == "present":
        return (value is not None) == condition.present
    if value is None or kind is None:
        return False
    wanted: str = getattr(condition, kind)
    match kind:
        case "exact":
            return value == wanted
        case "prefix":
            return value.startswith(wanted)
        case "suffix":
            return value.endswith(wanted)
        case "regex":
            return re2.fullmatch(wanted, value) is not None


def _is(value: str | None) -> str:
    return "is not there" if value is None else f"is {value!r}"


def _wanted(condition: HeaderMatch | QueryParamMatch) -> str:
    kind = condition.WhichOneof("kind")
    if kind == "present":
        return "it there" if condition.present else "it absent"
    return f"{kind} {getattr(condition, kind)!r}" if kind else "nothing"


def _any_of(patterns: Iterable[str]) -> str:
    return " or ".join(repr(pattern) for pattern in patterns)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
