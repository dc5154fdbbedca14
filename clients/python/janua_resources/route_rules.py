"""When a route makes sense: its conditions can be compiled and can hold, and it has somewhere to send requests."""

import re
from collections.abc import Iterator
from typing import Final

from janua.config.v1.route_pb2 import HeaderMatch, PathMatch, QueryParamMatch, Route, RouteMatch

from janua_resources.answer_rules import check_answer
from janua_resources.field_paths import item
from janua_resources.headers import is_header_name, is_header_value
from janua_resources.hosts import normalize_host_pattern
from janua_resources.quoting import quoted
from janua_resources.regexes import compile_regex
from janua_resources.retry_rules import check_retries
from janua_resources.violations import Problem, problem_of_parsing

_REQUEST_PATH: Final = re.compile(r"[^\x00-\x1f\x7f?#]*")


def check_route(route: Route) -> Iterator[Problem]:
    """What is wrong with the meaning of a route."""
    yield from _check_match(route.match)
    yield from check_answer(route)
    if route.backends and all(backend.HasField("weight") and not backend.weight for backend in route.backends):
        yield Problem(field="backends", message="all have weight 0, so that no request can be served")
    for index, model in enumerate(route.advertised_models):
        if "*" in model:
            text = f"{quoted(model)} is a pattern; give exact names"
            yield Problem(field=item("advertised_models", index), message=text)
    yield from check_retries(route.retry_policy, route.timeouts)


def _check_match(match: RouteMatch) -> Iterator[Problem]:
    for index, host in enumerate(match.hosts):
        yield from problem_of_parsing(normalize_host_pattern, host, item("match.hosts", index))
    yield from _check_path(match.path)
    if match.HasField("grpc"):
        if match.HasField("path"):
            yield Problem(field="match.grpc", message="is not together with match.path; give one of them")
        if any(method != "POST" for method in match.methods):
            yield Problem(field="match.methods", message="gRPC calls are POST; leave the methods out")
    for index, header in enumerate(match.headers):
        yield from _check_header(header, item("match.headers", index))
    for index, param in enumerate(match.query_params):
        yield from _check_query_param(param, item("match.query_params", index))


def _check_path(path: PathMatch) -> Iterator[Problem]:
    match path.WhichOneof("kind"):
        case "regex":
            yield from problem_of_parsing(compile_regex, path.regex, "match.path.regex")
        case "exact":
            yield from _check_literal_path(path.exact, "match.path.exact")
        case "prefix":
            yield from _check_literal_path(path.prefix, "match.path.prefix")
        case None:
            pass


def _check_literal_path(text: str, field: str) -> Iterator[Problem]:
    if not _REQUEST_PATH.fullmatch(text):
        problem = f"{quoted(text)} never matches: a path has no query, fragment or control characters"
        yield Problem(field=field, message=problem)


def _check_header(header: HeaderMatch, path: str) -> Iterator[Problem]:
    if not is_header_name(header.name):
        yield Problem(field=f"{path}.name", message=f"{quoted(header.name)} is not a header name")
    match header.WhichOneof("kind"):
        case "regex":
            yield from problem_of_parsing(compile_regex, header.regex, f"{path}.regex")
        case "exact":
            yield from _check_header_value(header.exact, f"{path}.exact")
        case "prefix":
            yield from _check_header_value(header.prefix, f"{path}.prefix")
        case "suffix":
            yield from _check_header_value(header.suffix, f"{path}.suffix")
        case "present" | None:
            pass


def _check_header_value(text: str, field: str) -> Iterator[Problem]:
    if not is_header_value(text):
        yield Problem(field=field, message="never matches: a header value has no control characters")


def _check_query_param(param: QueryParamMatch, path: str) -> Iterator[Problem]:
    if param.HasField("regex"):
        yield from problem_of_parsing(compile_regex, param.regex, f"{path}.regex")
