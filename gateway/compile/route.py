"""`Route` messages to values."""

import re2
from janua.config.v1 import route_pb2
from janua_resources.hosts import normalize_host_pattern

from gateway.compile.service import compile_retry, compile_timeouts
from gateway.config.snapshot import (
    DEFAULT_FALLBACK_ON,
    UNAVAILABLE,
    BackendConfig,
    DirectResponseConfig,
    Exact,
    Failure,
    HeaderMatch,
    HeaderValueMatch,
    MirrorConfig,
    PathMatch,
    Prefix,
    Present,
    QueryMatch,
    QueryValueMatch,
    RedirectConfig,
    Regex,
    RewriteConfig,
    RouteConfig,
    RouteMatch,
    Suffix,
)

_FALLBACK_ON = {
    route_pb2.FALLBACK_ON_UNAVAILABLE: UNAVAILABLE,
    route_pb2.FALLBACK_ON_RATE_LIMITED: frozenset({Failure.RATE_LIMITED}),
    route_pb2.FALLBACK_ON_OVERLOADED: frozenset({Failure.OVERLOADED}),
    route_pb2.FALLBACK_ON_TIMEOUT: frozenset({Failure.TIMEOUT}),
    route_pb2.FALLBACK_ON_CONTEXT_LENGTH: frozenset({Failure.CONTEXT_LENGTH}),
    route_pb2.FALLBACK_ON_CONTENT_FILTER: frozenset({Failure.CONTENT_FILTER}),
}
_TEXT = "text/plain; charset=utf-8"


def compile_route(message: route_pb2.Route) -> RouteConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    return RouteConfig(
        name=message.name,
        match=_match(message.match),
        backends=tuple(_backend(backend) for backend in message.backends),
        priority=message.priority,
        retry=compile_retry(message.retry_policy) if message.HasField("retry_policy") else None,
        timeouts=compile_timeouts(message.timeouts),
        fallback_on=_fallback_on(message),
        mirror=_mirror(message.mirror) if message.HasField("mirror") else None,
        rewrite=_rewrite(message.rewrite) if message.HasField("rewrite") else None,
        fixed_answer=_fixed_answer(message),
        advertised_models=tuple(message.advertised_models),
        policies=tuple(message.policies),
    )


def _backend(message: route_pb2.Backend) -> BackendConfig:
    return BackendConfig(
        service=message.service,
        weight=message.weight if message.HasField("weight") else 1,
        priority=message.priority,
        model_override=message.model_override or None,
    )


def _match(message: route_pb2.RouteMatch) -> RouteMatch:
    return RouteMatch(
        hosts=tuple(normalize_host_pattern(host).removesuffix(".") for host in message.hosts),
        path=_grpc_path(message.grpc) if message.HasField("grpc") else _optional_path(message),
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


def _fallback_on(message: route_pb2.Route) -> frozenset[Failure]:
    if not message.fallback_on:
        return DEFAULT_FALLBACK_ON
    return frozenset[Failure]().union(*(_FALLBACK_ON[each] for each in message.fallback_on))


def _mirror(message: route_pb2.Mirror) -> MirrorConfig:
    return MirrorConfig(service=message.service, percent=message.percent if message.HasField("percent") else 100.0)


def _rewrite(message: route_pb2.Rewrite) -> RewriteConfig:
    prefix = message.path_prefix if message.HasField("path_prefix") else None
    return RewriteConfig(path_prefix=prefix, host=message.host or None)


def _fixed_answer(message: route_pb2.Route) -> RedirectConfig | DirectResponseConfig | None:
    if message.HasField("redirect"):
        redirect = message.redirect
        return RedirectConfig(
            status=redirect.status or 302,
            scheme=redirect.scheme or None,
            host=redirect.host or None,
            path=redirect.path or None,
        )
    if message.HasField("direct_response"):
        direct = message.direct_response
        return DirectResponseConfig(status=direct.status, body=direct.body, content_type=direct.content_type or _TEXT)
    return None


def _grpc_path(message: route_pb2.GrpcMatch) -> PathMatch:
    if message.method:
        return Exact(f"/{message.service}/{message.method}")
    return Prefix(f"/{message.service}")


def _optional_path(message: route_pb2.RouteMatch) -> PathMatch | None:
    return _path(message.path) if message.HasField("path") else None


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
