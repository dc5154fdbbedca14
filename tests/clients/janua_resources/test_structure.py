import math

import pytest
from google.protobuf import struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.route_pb2 import HeaderMatch, PathMatch, Route, RouteMatch
from janua.config.v1.service_pb2 import RetryPolicy, Service, Timeouts, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, HealthCheck, LoadBalancing, OutlierDetection, Upstream
from janua_resources.kinds import ConfigMessage
from janua_resources.structure import check_structure, shapes_of
from janua_resources.violations import INVALID_FIELD, UNKNOWN_KIND


def problems(message: ConfigMessage) -> list[tuple[str, str]]:
    return [(problem.field, problem.reason) for problem in check_structure(message)]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Policy(name="keys"), "spec"),
        (Service(name="s"), "kind"),
        (Route(match=RouteMatch(path=PathMatch())), "match.path.kind"),
        (
            Route(match=RouteMatch(headers=[HeaderMatch(present=True), HeaderMatch()])),
            "match.headers[1].kind",
        ),
        (Upstream(health_checks=[HealthCheck()]), "health_checks[0].checker"),
    ],
)
def test_an_unset_oneof_is_refused(message: ConfigMessage, field: str) -> None:
    assert problems(message) == [(field, UNKNOWN_KIND)]


def test_a_kind_of_a_newer_version_is_refused_and_said_to_be_one() -> None:
    newer = Policy()
    newer.ParseFromString(b"\x0a\x01a" + b"\xaa\x06\x00")  # name "a" and an empty message in field 101
    [problem] = check_structure(newer)
    assert (problem.field, problem.reason) == ("spec", UNKNOWN_KIND)
    assert "does not know" in problem.message
    [problem] = check_structure(Policy(name="a"))
    kinds = [field.name for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields]
    assert problem.message == f"is not set; give {' or '.join(kinds)}"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    upstream = Upstream(
        load_balancing=LoadBalancing(healthy_panic_threshold=number),
        outlier_detection=OutlierDetection(success_rate=OutlierDetection.SuccessRate(stdev_factor=number)),
    )
    assert problems(upstream) == [
        ("load_balancing.healthy_panic_threshold", INVALID_FIELD),
        ("outlier_detection.success_rate.stdev_factor", INVALID_FIELD),
    ]


def test_unknown_fields_beside_a_known_kind_are_carried() -> None:
    newer = Policy(api_key_auth=ApiKeyAuth())
    newer.MergeFromString(b"\xaa\x06\x00")
    assert problems(newer) == []


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Upstream(load_balancing=LoadBalancing(policy=99)), "load_balancing.policy"),  # type: ignore[arg-type]
        (Upstream(endpoints=[Endpoint(), Endpoint(state=99)]), "endpoints[1].state"),  # type: ignore[arg-type]
        (Service(upstream_service=UpstreamService(schema=-1)), "upstream_service.schema"),  # type: ignore[arg-type]
        (Route(retry_policy=RetryPolicy(retry_on=[1, 99])), "retry_policy.retry_on[1]"),  # type: ignore[list-item]
    ],
)
def test_an_unknown_enum_number_is_refused(message: ConfigMessage, field: str) -> None:
    assert problems(message) == [(field, INVALID_FIELD)]


@pytest.mark.parametrize(
    "duration",
    [Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=10**12), Duration(seconds=1, nanos=-5)],
)
def test_impossible_durations_are_refused(duration: Duration) -> None:
    assert problems(Route(timeouts=Timeouts(request=duration))) == [("timeouts.request", INVALID_FIELD)]


@pytest.mark.parametrize("timestamp", [Timestamp(seconds=2**60), Timestamp(nanos=-1), Timestamp(nanos=10**9)])
def test_impossible_timestamps_are_refused(timestamp: Timestamp) -> None:
    consumer = Consumer(api_keys=[ApiKey(expires=timestamp)])
    assert problems(consumer) == [("api_keys[0].expires", INVALID_FIELD)]


def test_maps_of_messages_and_recursive_messages_are_walked() -> None:
    struct = struct_pb2.Struct()
    struct.fields["a b"].list_value.values.extend([struct_pb2.Value(bool_value=True), struct_pb2.Value()])
    struct.fields["n"].null_value = 7  # type: ignore[assignment]  # the point of the test
    shapes = shapes_of([struct.DESCRIPTOR])
    found = sorted((problem.field, problem.reason) for problem in check_structure(struct, shapes))
    assert found == [
        ('fields["a b"].list_value.values[1].kind', UNKNOWN_KIND),
        ('fields["n"].null_value', INVALID_FIELD),
    ]
