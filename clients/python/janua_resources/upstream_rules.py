"""When an upstream makes sense: its endpoints, how they are reached, and what watches over them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from google.protobuf.duration_pb2 import Duration
from janua.config.v1.upstream_pb2 import PROTOCOL_GRPC, HealthCheck, OutlierDetection, Tls, Upstream

from janua_resources.addresses import Address, check_host_header, parse_address
from janua_resources.balancing_rules import check_load_balancing
from janua_resources.durations import format_duration, to_nanos
from janua_resources.hosts import normalize_host
from janua_resources.quoting import quoted
from janua_resources.violations import DUPLICATE, Problem, problem_of_parsing

_DEFAULT_BASE_EJECTION: Final = Duration(seconds=30)

# A request target (RFC 9112, section 3.2.1): a path and perhaps a query, nothing that needs escaping.
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")


def check_upstream(upstream: Upstream) -> Iterator[Problem]:
    """What is wrong with the meaning of an upstream."""
    yield from _check_endpoints(upstream)
    yield from check_load_balancing(upstream.load_balancing)
    yield from _check_protocol(upstream)
    yield from _check_tls(upstream.tls)
    yield from check_health_checks(upstream.health_checks, "health_checks")
    yield from check_outlier_detection(upstream.outlier_detection, "outlier_detection")
    breakers = upstream.circuit_breakers
    if breakers.HasField("max_retries") and breakers.HasField("retry_budget"):
        yield Problem(
            field="circuit_breakers.max_retries", message="is not together with retry_budget; give one of them"
        )


def check_health_checks(checks: Iterable[HealthCheck], field: str) -> Iterator[Problem]:
    """What is wrong with active checks."""
    for index, check in enumerate(checks):
        if check.HasField("http"):
            yield from _check_http(check.http, f"{field}[{index}].http")


def check_outlier_detection(detection: OutlierDetection, field: str) -> Iterator[Problem]:
    """What is wrong with ejection times."""
    longest = detection.max_ejection_time
    base = detection.base_ejection_time if detection.HasField("base_ejection_time") else _DEFAULT_BASE_EJECTION
    if detection.HasField("max_ejection_time") and to_nanos(longest) < to_nanos(base):
        text = f"{format_duration(longest)} is below base_ejection_time, {format_duration(base)}"
        yield Problem(field=f"{field}.max_ejection_time", message=text)


def _check_protocol(upstream: Upstream) -> Iterator[Problem]:
    """gRPC has neither paths nor plain HTTP checks."""
    if upstream.protocol != PROTOCOL_GRPC:
        for index, check in enumerate(upstream.health_checks):
            if check.HasField("grpc"):
                text = "needs protocol GRPC; endpoints that speak HTTP are checked with http"
                yield Problem(field=f"health_checks[{index}].grpc", message=text)
        return
    for index, check in enumerate(upstream.health_checks):
        if check.HasField("http"):
            text = "is not for protocol GRPC; use grpc, open_inference or tcp"
            yield Problem(field=f"health_checks[{index}].http", message=text)
    if upstream.tls.insecure_skip_verify:
        yield Problem(field="tls.insecure_skip_verify", message="is not possible with protocol GRPC")
    for index, endpoint in enumerate(upstream.endpoints):
        try:
            has_path = bool(parse_address(endpoint.address).base_path)
        except ValueError:
            continue  # reported already
        if has_path:
            text = "has a path, which gRPC has no use for; give host:port"
            yield Problem(field=f"endpoints[{index}].address", message=text)


def _check_tls(tls: Tls) -> Iterator[Problem]:
    if tls.server_name:
        yield from problem_of_parsing(normalize_host, tls.server_name, "tls.server_name")
    if tls.insecure_skip_verify and tls.HasField("ca"):
        yield Problem(field="tls.ca", message="has no effect with insecure_skip_verify; leave one of them out")


def _check_endpoints(upstream: Upstream) -> Iterator[Problem]:
    places: dict[Address, int] = {}
    for index, endpoint in enumerate(upstream.endpoints):
        if endpoint.HasField("weight") and not endpoint.weight:
            yield Problem(
                field=f"endpoints[{index}].weight", message="is 0; DISABLED is the state that takes no requests"
            )
        field = f"endpoints[{index}].address"
        try:
            address = parse_address(endpoint.address)
        except ValueError as error:
            yield Problem(field=field, message=str(error))
            continue
        if upstream.HasField("tls"):
            if "://" not in endpoint.address:
                address = replace(address, scheme="https")
            elif address.scheme == "http":
                text = f"{quoted(endpoint.address)} is without TLS although tls is given; leave out http:// or tls"
                yield Problem(field=field, message=text)
        first = places.setdefault(address, index)
        if first != index:
            text = f"{quoted(endpoint.address)} is the address of endpoints[{first}] already"
            yield Problem(field=field, message=text, reason=DUPLICATE)


def _check_http(check: HealthCheck.Http, path: str) -> Iterator[Problem]:
    if not _TARGET.fullmatch(check.path):
        text = f"{quoted(check.path)} is not a request path; it starts with '/' and holds no white space or fragment"
        yield Problem(field=f"{path}.path", message=text)
    if check.host:
        yield from problem_of_parsing(check_host_header, check.host, f"{path}.host")
    for index, statuses in enumerate(check.expected_statuses):
        if statuses.start > statuses.end:
            text = f"starts at {statuses.start}, after its end {statuses.end}"
            yield Problem(field=f"{path}.expected_statuses[{index}]", message=text)
