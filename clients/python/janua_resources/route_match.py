"""When two route matches are the same: what they mean is compared, not how they are written."""

from collections.abc import Hashable
from typing import TypeAlias

from janua.config.v1.route_pb2 import HeaderMatch, QueryParamMatch, Route, RouteMatch

from janua_resources.hosts import normalize_host_pattern

# Equal for routes that no request can tell apart.
MatchKey: TypeAlias = Hashable


def rough_key(route: Route) -> MatchKey:
    """A part of `match_key` that is cheap to make: routes that differ in it differ in `match_key` too."""
    return route.priority, frozenset(route.match.models), _path_key(route.match)


def match_key(route: Route) -> MatchKey:
    """The priority and the meaning of the match.

    The order of lists, repeated entries, and the case of hosts and header names do not count.
    """
    match = route.match
    return (
        rough_key(route),
        frozenset(_host_key(host) for host in match.hosts),
        frozenset(match.methods),
        frozenset(_header_key(header) for header in match.headers),
        frozenset(_query_param_key(param) for param in match.query_params),
    )


def _path_key(match: RouteMatch) -> MatchKey:
    if match.HasField("grpc"):
        service, method = match.grpc.service, match.grpc.method
        return ("exact", f"/{service}/{method}") if method else ("prefix", f"/{service}")
    if not match.HasField("path"):
        return None
    kind = match.path.WhichOneof("kind")
    if kind == "prefix":
        return kind, match.path.prefix.rstrip("/")  # which matches the same
    return (kind, getattr(match.path, kind)) if kind else ""


def _host_key(host: str) -> str:
    try:
        return normalize_host_pattern(host)
    except ValueError:
        return host.lower()


def _header_key(header: HeaderMatch) -> MatchKey:
    kind = header.WhichOneof("kind")
    if kind == "present":
        # Inverted presence is absence.
        return header.name.lower(), kind, header.present != header.invert
    return header.name.lower(), kind, getattr(header, kind) if kind else None, header.invert


def _query_param_key(param: QueryParamMatch) -> MatchKey:
    kind = param.WhichOneof("kind")
    return param.name, kind, getattr(param, kind) if kind else None
