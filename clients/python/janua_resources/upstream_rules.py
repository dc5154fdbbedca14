"""When an upstream makes sense: its endpoints, its balancing and its health checks."""

import re
from collections.abc import Iterator
from typing import Final

from janua.config.v1.upstream_pb2 import HealthCheck, LoadBalancing, Upstream

from janua_resources.addresses import Address, check_host_header, parse_address
from janua_resources.quoting import quoted
from janua_resources.violations import DUPLICATE, Problem, problem_of_parsing

# A request target (RFC 9112, section 3.2.1): a path and perhaps a query, nothing that needs escaping.
_TARGET: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")


def check_upstream(upstream: Upstream) -> Iterator[Problem]:
    """What is wrong with the meaning of an upstream."""
    yield from _check_endpoints(upstream)
    yield from _check_load_balancing(upstream.load_balancing)
    for index, check in enumerate(upstream.health_checks):
        if check.HasField("http"):
            yield from _check_http(check.http, f"health_checks[{index}].http")


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
        first = places.setdefault(address, index)
        if first != index:
            text = f"{quoted(endpoint.address)} is the address of endpoints[{first}] already"
            yield Problem(field=field, message=text, reason=DUPLICATE)


def _check_load_balancing(balancing: LoadBalancing) -> Iterator[Problem]:
    if balancing.HasField("least_request") and balancing.policy != LoadBalancing.POLICY_LEAST_REQUEST:
        yield Problem(field="load_balancing.least_request", message="is only for policy LEAST_REQUEST")


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
