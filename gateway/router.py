"""Chooses the route of a request and the backend of a route, and nothing else.

Which route wins: host (exact, then longest wildcard, then none) → path (exact, longest prefix, regex, none) → method →
number of header, then query matches → model (exact, longest prefix, none) → priority (lower first) → name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, assert_never

from gateway.config.snapshot import (
    BackendConfig,
    Exact,
    HeaderMatch,
    HeaderValueMatch,
    PathMatch,
    Prefix,
    Present,
    QueryMatch,
    QueryValueMatch,
    Regex,
    RouteConfig,
    Suffix,
)


class RoutableRequest(Protocol):
    """What routing looks at. Host in lower case without port, header names in lower case."""

    @property
    def host(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def headers(self) -> Mapping[bytes, bytes]: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def model(self) -> str: ...
    @property
    def is_inference(self) -> bool: ...


class Routed(Protocol):
    """Anything that is chosen by a route's match."""

    @property
    def route(self) -> RouteConfig: ...


R = TypeVar("R", bound=Routed)


@dataclass(slots=True)
class _Shape(Generic[R]):
    """Routes of one host and path that are equally specific up to the model.

    Routes whose other conditions are only the methods are found by model name; the rest one after another.
    """

    exact_models: dict[str, list[R]] = field(default_factory=dict)
    model_prefixes: dict[str, list[R]] = field(default_factory=dict)
    prefix_lengths: list[int] = field(default_factory=list)
    any_model: list[R] = field(default_factory=list)

    def add(self, entry: R, model: str) -> None:
        if not model:
            self.any_model.append(entry)
        elif model.endswith("*"):
            self.model_prefixes.setdefault(model[:-1], []).append(entry)
        else:
            self.exact_models.setdefault(model, []).append(entry)

    def freeze(self) -> None:
        self.prefix_lengths = sorted({len(prefix) for prefix in self.model_prefixes}, reverse=True)
        for entries in (*self.exact_models.values(), *self.model_prefixes.values(), self.any_model):
            entries.sort(key=lambda entry: (entry.route.priority, entry.route.name))

    def candidates(self, model: str) -> Iterator[R]:
        """Entries that take this model, the most specific first."""
        yield from self.exact_models.get(model, ())
        for length in self.prefix_lengths:
            if length <= len(model):
                yield from self.model_prefixes.get(model[:length], ())
        yield from self.any_model

    def all(self) -> Iterator[R]:
        """Entries for any model, some of them several times; those that name it most exactly first."""
        for entries in (*self.exact_models.values(), *self.model_prefixes.values(), self.any_model):
            yield from entries


# Has methods or not, number of header matches, number of query matches; higher is more specific.
_ShapeKey = tuple[bool, int, int]


@dataclass(slots=True)
class _PathTable(Generic[R]):
    """Routes of one host and one way of matching the path, by shape, the most specific shape first."""

    shapes: dict[_ShapeKey, _Shape[R]] = field(default_factory=dict)

    def add(self, entry: R) -> None:
        match = entry.route.match
        key = (bool(match.methods), len(match.headers), len(match.query))
        shape = self.shapes.setdefault(key, _Shape())
        for model in match.models or ("",):
            shape.add(entry, model)

    def freeze(self) -> None:
        self.shapes = dict(sorted(self.shapes.items(), reverse=True))
        for shape in self.shapes.values():
            shape.freeze()

    def find(self, request: RoutableRequest) -> R | None:
        for shape in self.shapes.values():
            for entry in shape.candidates(request.model):
                if _conditions_hold(entry.route, request):
                    return entry
        return None


@dataclass(slots=True)
class _HostTable(Generic[R]):
    """Routes of one host pattern by path."""

    exact: dict[str, _PathTable[R]] = field(default_factory=dict)
    prefix: dict[str, _PathTable[R]] = field(default_factory=dict)
    regex: _PathTable[R] = field(default_factory=_PathTable)
    anywhere: _PathTable[R] = field(default_factory=_PathTable)

    def add(self, entry: R) -> None:
        self._table(entry.route.match.path).add(entry)

    def _table(self, path: PathMatch | None) -> _PathTable[R]:
        match path:
            case None:
                return self.anywhere
            case Exact(value):
                return self.exact.setdefault(value, _PathTable())
            case Prefix(value):
                return self.prefix.setdefault(value.rstrip("/"), _PathTable())
            case Regex():
                return self.regex
            case _:
                assert_never(path)

    def _all(self) -> Iterator[_PathTable[R]]:
        yield from self.exact.values()
        yield from self.prefix.values()
        yield self.regex
        yield self.anywhere

    def freeze(self) -> None:
        for table in self._all():
            table.freeze()

    def find(self, request: RoutableRequest) -> R | None:
        for table in self.for_path(request):
            if (entry := table.find(request)) is not None:
                return entry
        return None

    def for_path(self, request: RoutableRequest) -> Iterator[_PathTable[R]]:
        path = request.path
        if (table := self.exact.get(path)) is not None:
            yield table
        if self.prefix:
            for prefix in _prefixes(path):
                if (table := self.prefix.get(prefix)) is not None:
                    yield table
        yield self.regex
        # A route that names no path is for models.
        if request.is_inference:
            yield self.anywhere


class Router(Generic[R]):
    """Finds the route of a request. Built once per snapshot; costs do not grow with the number of routes as long as
    those differ in host, path or model."""

    def __init__(self, entries: Iterable[R]) -> None:
        self._hosts: dict[str, _HostTable[R]] = {}
        self._suffixes: dict[str, _HostTable[R]] = {}
        self._any_host: _HostTable[R] = _HostTable()
        for entry in entries:
            for host in entry.route.match.hosts or ("",):
                self._table(host).add(entry)
        for table in (*self._hosts.values(), *self._suffixes.values(), self._any_host):
            table.freeze()

    def _table(self, host: str) -> _HostTable[R]:
        if not host:
            return self._any_host
        if host.startswith("*."):
            return self._suffixes.setdefault(host[1:], _HostTable())
        return self._hosts.setdefault(host, _HostTable())

    def match(self, request: RoutableRequest) -> R | None:
        """The most specific route whose conditions all hold, or None."""
        for table in self._for_host(request.host):
            if (entry := table.find(request)) is not None:
                return entry
        return None

    def candidates(self, request: RoutableRequest) -> Iterator[R]:
        """All entries that may match a request whose model and headers are not known; the most specific first. One for
        several models comes several times."""
        for table in self._for_host(request.host):
            for path_table in table.for_path(request):
                for shape in path_table.shapes.values():
                    yield from (entry for entry in shape.all() if _target_holds(entry.route, request))

    def _for_host(self, host: str) -> Iterator[_HostTable[R]]:
        if (table := self._hosts.get(host)) is not None:
            yield table
        if self._suffixes:
            # ".example.com" of "a.b.example.com": from the longest suffix to the shortest.
            dot = host.find(".")
            while dot != -1:
                if (table := self._suffixes.get(host[dot:])) is not None:
                    yield table
                dot = host.find(".", dot + 1)
        yield self._any_host

    def reachable(self, host: str) -> Iterator[R]:
        """All entries that a request to this host may match, each once."""
        seen = set()
        for table in self._for_host(host):
            for path_table in table._all():  # the tables are this module's own
                for shape in path_table.shapes.values():
                    for entry in shape.all():
                        if id(entry) not in seen:
                            seen.add(id(entry))
                            yield entry


def _prefixes(path: str) -> Iterator[str]:
    """The path and its beginnings up to each `/`, the longest first; the empty one is the prefix `/`."""
    yield path.rstrip("/") if path.endswith("/") else path
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
    yield ""


def _conditions_hold(route: RouteConfig, request: RoutableRequest) -> bool:
    """Whether the conditions hold that no table has settled: regex path, methods, query, headers."""
    headers = route.match.headers
    return _target_holds(route, request) and (
        not headers or all(_header_holds(header, request.headers) for header in headers)
    )


def _target_holds(route: RouteConfig, request: RoutableRequest) -> bool:
    """Whether the conditions on regex path, methods and query hold."""
    match = route.match
    if match.methods and request.method not in match.methods:
        return False
    if isinstance(match.path, Regex) and match.path.compiled.fullmatch(request.path) is None:
        return False
    return not match.query or all(_query_holds(parameter, request.query) for parameter in match.query)


def _header_holds(match: HeaderMatch, headers: Mapping[bytes, bytes]) -> bool:
    raw = headers.get(match.name)
    holds = _value_holds(match.value, None if raw is None else raw.decode("latin-1"))
    return holds != match.invert


def _query_holds(match: QueryMatch, query: Mapping[str, str]) -> bool:
    return _value_holds(match.value, query.get(match.name))


def _value_holds(match: HeaderValueMatch | QueryValueMatch, value: str | None) -> bool:
    if isinstance(match, Present):
        return (value is not None) == match.wanted
    if value is None:
        return False
    match match:
        case Exact(expected):
            return value == expected
        case Prefix(expected):
            return value.startswith(expected)
        case Suffix(expected):
            return value.endswith(expected)
        case Regex():
            return match.compiled.fullmatch(value) is not None
        case _:
            assert_never(match)


class BackendChoice:
    """Chooses among the backends of a route: the lowest tier with a live backend takes all requests, shared by weight,
    exactly over time (smooth weighted round robin)."""

    def __init__(self, backends: Sequence[BackendConfig]) -> None:
        self.backends = tuple(backend for backend in backends if backend.weight)
        tiers = sorted({backend.priority for backend in self.backends})
        self._tiers = [[backend for backend in self.backends if backend.priority == tier] for tier in tiers]
        self._credit = dict.fromkeys(self.backends, 0)

    def choose(
        self, is_live: Callable[[BackendConfig], bool], tried: Collection[BackendConfig] = ()
    ) -> BackendConfig | None:
        """The backend whose turn it is among those not tried; a dead one if no tier has a live one; None if all have
        been tried, or have weight 0."""
        if len(self.backends) == 1:
            return None if tried else self.backends[0]
        untried = [[backend for backend in tier if backend not in tried] for tier in self._tiers]
        for tier in untried:
            if live := [backend for backend in tier if is_live(backend)]:
                return self._take_turn(live)
        return next((self._take_turn(tier) for tier in untried if tier), None)

    def _take_turn(self, backends: Sequence[BackendConfig]) -> BackendConfig:
        credit = self._credit
        total = 0
        best = backends[0]
        for backend in backends:
            total += backend.weight
            credit[backend] += backend.weight
            if credit[backend] > credit[best]:
                best = backend
        credit[best] -= total
        return best
