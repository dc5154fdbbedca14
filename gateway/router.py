"""Chooses the route of a request and the backend of a route, and nothing else.

Which route wins: host (exact, then longest wildcard, then none) → path (exact, longest prefix, regex, none) → method →
number of header, then query matches → model (exact, longest prefix, none) → priority (lower first) → name.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar, assert_never

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


class _Edition:
    """One change of a router. What bears its mark was made by it and is nobody else's yet; all else is copied first."""


class _Table(Protocol):
    edition: _Edition

    def copy(self, edition: _Edition) -> Self: ...


K = TypeVar("K")
T = TypeVar("T", bound=_Table)


def _own(tables: dict[K, T], key: K, make: Callable[[_Edition], T], edition: _Edition) -> T:
    """The table of a key, as one that this change may edit."""
    table = tables.get(key)
    if table is None:
        table = tables[key] = make(edition)
    elif table.edition is not edition:
        table = tables[key] = table.copy(edition)
    return table


# Has methods or not, number of header matches, number of query matches; higher is more specific.
_ShapeKey: TypeAlias = tuple[bool, int, int]


class _PathKind(Enum):
    EXACT = auto()
    PREFIX = auto()
    REGEX = auto()
    ANYWHERE = auto()


class _Place(NamedTuple):
    """Where a route stands. Host, path and model are empty where the route does not name one; of a wildcard host only
    what follows the star is the key."""

    host: str
    path_kind: _PathKind
    path: str
    shape: _ShapeKey
    model: str


@dataclass(slots=True)
class _Edit:
    """What leaves a place, and what comes there."""

    gone: list[RouteConfig] = field(default_factory=list)
    come: list[RouteConfig] = field(default_factory=list)

    def of(self, routes: tuple[RouteConfig, ...]) -> tuple[RouteConfig, ...]:
        """The routes of the place after it, in their order."""
        gone = set(map(id, self.gone))
        left = [*(route for route in routes if id(route) not in gone), *self.come]
        left.sort(key=lambda route: (route.priority, route.name))
        return tuple(left)


@dataclass(slots=True)
class _Shape:
    """Routes of one host and path that are equally specific up to the model.

    Routes whose other conditions are only the methods are found by model name; the rest one after another.
    """

    edition: _Edition
    exact_models: dict[str, tuple[RouteConfig, ...]] = field(default_factory=dict)
    model_prefixes: dict[str, tuple[RouteConfig, ...]] = field(default_factory=dict)
    prefix_lengths: Counter[int] = field(default_factory=Counter)
    longest_first: tuple[int, ...] = ()
    any_model: tuple[RouteConfig, ...] = ()

    def copy(self, edition: _Edition) -> "_Shape":
        return _Shape(
            edition,
            dict(self.exact_models),
            dict(self.model_prefixes),
            Counter(self.prefix_lengths),
            self.longest_first,
            self.any_model,
        )

    def edit(self, model: str, edit: _Edit) -> None:
        if not model:
            self.any_model = edit.of(self.any_model)
        elif model.endswith("*"):
            self._edit_prefix(model[:-1], edit)
        elif routes := edit.of(self.exact_models.get(model, ())):
            self.exact_models[model] = routes
        else:
            self.exact_models.pop(model, None)

    def _edit_prefix(self, prefix: str, edit: _Edit) -> None:
        before = self.model_prefixes.pop(prefix, ())
        if routes := edit.of(before):
            self.model_prefixes[prefix] = routes
        self.prefix_lengths[len(prefix)] += bool(routes) - bool(before)
        self.prefix_lengths = +self.prefix_lengths
        self.longest_first = tuple(sorted(self.prefix_lengths, reverse=True))

    @property
    def is_empty(self) -> bool:
        return not (self.exact_models or self.model_prefixes or self.any_model)

    def candidates(self, model: str) -> Iterator[RouteConfig]:
        """Routes that take this model, the most specific first."""
        yield from self.exact_models.get(model, ())
        for length in self.longest_first:
            if length <= len(model):
                yield from self.model_prefixes.get(model[:length], ())
        yield from self.any_model

    def all(self) -> Iterator[RouteConfig]:
        """Routes for any model, some of them several times; those that name it most exactly first."""
        for routes in (*self.exact_models.values(), *self.model_prefixes.values(), self.any_model):
            yield from routes


@dataclass(slots=True)
class _PathTable:
    """Routes of one host and one way of matching the path, by shape, the most specific shape first."""

    edition: _Edition
    shapes: dict[_ShapeKey, _Shape] = field(default_factory=dict)

    def copy(self, edition: _Edition) -> "_PathTable":
        return _PathTable(edition, dict(self.shapes))

    def edit(self, place: _Place, edit: _Edit) -> None:
        is_new = place.shape not in self.shapes
        shape = _own(self.shapes, place.shape, _Shape, self.edition)
        shape.edit(place.model, edit)
        if shape.is_empty:
            del self.shapes[place.shape]
        elif is_new:  # among few others
            self.shapes = dict(sorted(self.shapes.items(), reverse=True))

    def find(self, request: RoutableRequest) -> RouteConfig | None:
        for shape in self.shapes.values():
            for route in shape.candidates(request.model):
                if _conditions_hold(route, request):
                    return route
        return None


@dataclass(slots=True)
class _HostTable:
    """Routes of one host pattern by path."""

    edition: _Edition
    exact: dict[str, _PathTable] = field(default_factory=dict)
    prefix: dict[str, _PathTable] = field(default_factory=dict)
    regex: dict[str, _PathTable] = field(default_factory=dict)
    anywhere: dict[str, _PathTable] = field(default_factory=dict)

    def copy(self, edition: _Edition) -> "_HostTable":
        return _HostTable(edition, *map(dict, self._all()))

    def _all(self) -> tuple[dict[str, _PathTable], ...]:
        return self.exact, self.prefix, self.regex, self.anywhere

    def edit(self, place: _Place, edit: _Edit) -> None:
        tables = self._all()[place.path_kind.value - 1]
        table = _own(tables, place.path, _PathTable, self.edition)
        table.edit(place, edit)
        if not table.shapes:
            del tables[place.path]

    @property
    def is_empty(self) -> bool:
        return not any(self._all())

    def tables(self) -> Iterator[_PathTable]:
        """All of them."""
        for tables in self._all():
            yield from tables.values()

    def find(self, request: RoutableRequest) -> RouteConfig | None:
        for table in self.for_path(request):
            if (route := table.find(request)) is not None:
                return route
        return None

    def for_path(self, request: RoutableRequest) -> Iterator[_PathTable]:
        path = request.path
        if (table := self.exact.get(path)) is not None:
            yield table
        if self.prefix:
            for prefix in _prefixes(path):
                if (table := self.prefix.get(prefix)) is not None:
                    yield table
        yield from self.regex.values()
        # A route that names no path is for models.
        if request.is_inference:
            yield from self.anywhere.values()


class Router:
    """Finds the route of a request. Costs do not grow with the number of routes as long as those differ in host, path
    or model. It never changes: `changed` makes another, which shares with it whatever is the same."""

    def __init__(self) -> None:
        self._hosts: dict[str, _HostTable] = {}

    def changed(self, removed: Iterable[RouteConfig], added: Iterable[RouteConfig]) -> "Router":
        """A router without some of the routes and with others."""
        edits: defaultdict[_Place, _Edit] = defaultdict(_Edit)
        for route in removed:
            for place in _places(route):
                edits[place].gone.append(route)
        for route in added:
            for place in _places(route):
                edits[place].come.append(route)
        router, edition = Router(), _Edition()
        hosts = router._hosts = dict(self._hosts)
        for place, edit in edits.items():
            table = _own(hosts, place.host, _HostTable, edition)
            table.edit(place, edit)
            if table.is_empty:
                del hosts[place.host]
        return router

    def match(self, request: RoutableRequest) -> RouteConfig | None:
        """The most specific route whose conditions all hold, or None."""
        for table in self._for_host(request.host):
            if (route := table.find(request)) is not None:
                return route
        return None

    def candidates(self, request: RoutableRequest) -> Iterator[RouteConfig]:
        """All routes that may match a request whose model and headers are not known; the most specific first. One for
        several models comes several times."""
        for table in self._for_host(request.host):
            for path_table in table.for_path(request):
                for shape in path_table.shapes.values():
                    yield from (route for route in shape.all() if _target_holds(route, request))

    def _for_host(self, host: str) -> Iterator[_HostTable]:
        hosts = self._hosts
        if host and (table := hosts.get(host)) is not None:
            yield table
        # ".example.com" of "a.b.example.com": from the longest suffix to the shortest.
        dot = host.find(".")
        while dot != -1:
            if (table := hosts.get(host[dot:])) is not None:
                yield table
            dot = host.find(".", dot + 1)
        if (table := hosts.get("")) is not None:
            yield table

    def reachable(self, host: str) -> Iterator[RouteConfig]:
        """All routes that a request to this host may match, each once."""
        seen = set()
        for table in self._for_host(host):
            for path_table in table.tables():
                for shape in path_table.shapes.values():
                    for route in shape.all():
                        if id(route) not in seen:
                            seen.add(id(route))
                            yield route


class RoutesInUse:
    """The router of the configuration in use, carried along from one to the next."""

    def __init__(self, *, routes_a_step: int = 100) -> None:
        self._routes_a_step = routes_a_step
        self._router = Router()
        self._in_router: dict[str, RouteConfig] = {}
        self._followed: Mapping[str, RouteConfig] = {}

    def router_of(self, routes: Mapping[str, RouteConfig]) -> Router:
        """The router of these routes, by name: at once if they have been followed, else after that."""
        for _ in self.follow(routes):
            pass
        return self._router

    def follow(self, routes: Mapping[str, RouteConfig]) -> Iterator[None]:
        """Becomes the router of these routes in steps of a millisecond or two. Others may be followed meanwhile: the
        last to end decides."""
        if routes is self._followed:
            return
        known = self._in_router
        changed = [name for name, route in routes.items() if known.get(name) is not route]
        yield
        changed += [name for name in known if name not in routes]
        yield
        for start in range(0, len(changed), self._routes_a_step):
            names = changed[start : start + self._routes_a_step]
            removed = [known.pop(name) for name in names if name in known]
            added = {name: routes[name] for name in names if name in routes}
            self._router = self._router.changed(removed, added.values())
            known |= added
            yield
        self._followed = routes


def _places(route: RouteConfig) -> Iterator[_Place]:
    match = route.match
    kind, path = _path_place(match.path)
    shape = (bool(match.methods), len(match.headers), len(match.query))
    for host in match.hosts or ("",):
        for model in match.models or ("",):
            yield _Place(host[1:] if host.startswith("*.") else host, kind, path, shape, model)


def _path_place(path: PathMatch | None) -> tuple[_PathKind, str]:
    match path:
        case None:
            return _PathKind.ANYWHERE, ""
        case Exact(value):
            return _PathKind.EXACT, value
        case Prefix(value):
            return _PathKind.PREFIX, value.rstrip("/")
        case Regex():
            return _PathKind.REGEX, ""
        case _:
            assert_never(path)


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


class Choices:
    """Whose turn it is among the backends of each route. A route keeps its turns for as long as its backends stay."""

    def __init__(self) -> None:
        self._choices: dict[str, BackendChoice] = {}

    def of(self, route: RouteConfig) -> BackendChoice:
        """That of a route of the configuration in use."""
        fresh = BackendChoice(route.backends)
        known = self._choices.get(route.name)
        if known is not None and known.backends == fresh.backends:
            return known
        self._choices[route.name] = fresh
        return fresh

    def keep(self, routes: Mapping[str, RouteConfig]) -> None:
        """Forgets those of all other routes."""
        for name in self._choices.keys() - routes.keys():
            del self._choices[name]
