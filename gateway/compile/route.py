"""`Route` messages to values."""

import re2
from janua.config.v1 import route_pb2
from janua_resources.hosts import normalize_host_pattern

from gateway.compile.service import compile_retry, compile_timeouts
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
    RouteMatch,
    Suffix,
)


def compile_route(message: route_pb2.Route) -> RouteConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    return RouteConfig(
        name=message.name,
        match=_match(message.match),
        backends=tuple(_backend(backend) for backend in message.backends),
        priority=message.priority,
        retry=compile_retry(message.retry_policy) if message.HasField("retry_policy") else None,
        timeouts=compile_timeouts(message.timeouts),
        advertised_models=tuple(message.advertised_models),
        policies=tuple(message.policies),
    )


def _backend(message: route_pb2.Backend) -> BackendConfig:
    return BackendConfig(
        service=message.service,
        weight=message.weight if message.HasField("weight") else 1,
        model_override=message.model_override or None,
    )


def _match(message: route_pb2.RouteMatch) -> RouteMatch:
    return RouteMatch(
        hosts=tuple(normalize_host_pattern(host).removesuffix(".") for host in message.hosts),
        path=_path(message.path) if message.HasField("path") else None,
        methods=frozenset(message.methods),
        headers=tuple(
            HeaderMatch(name=header.name.lower().encode(), value=_header_value(header), invert=header.invert)
            for header in message.headers
        ),
        query=tuple(
            QueryMatch(name=parameter.name, value=_query_value(parameter)) for parameter in message.query_params
        ),
        models=tuple(message.models),
    )


def _regex(pattern: str) -> Regex:
    return Regex(pattern, re2.compile(pattern))


def _path(message: route_pb2.PathMatch) -> PathMatch:
    match message.WhichOneof("kind"):
        case "exact":
            return Exact(message.exact)
        case "prefix":
            return Prefix(message.prefix)
        case _:
            return _regex(message.regex)


def _header_value(message: route_pb2.HeaderMatch) -> HeaderValueMatch:
    match message.WhichOneof("kind"):
        case "exact":
            return Exact(message.exact)
        case "prefix":
            return Prefix(message.prefix)
        case "suffix":
            return Suffix(message.suffix)
        case "regex":
            return _regex(message.regex)
        case _:
            return Present(message.present)


def _query_value(message: route_pb2.QueryParamMatch) -> QueryValueMatch:
    match message.WhichOneof("kind"):
        case "exact":
            return Exact(message.exact)
        case "regex":
            return _regex(message.regex)
        case _:
            return Present(message.present)
