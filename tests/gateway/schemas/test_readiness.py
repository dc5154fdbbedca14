"""The few bytes of readiness calls, beside what protobuf makes of them."""

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hypothesis import given
from hypothesis import strategies as st
from janua.open_inference.v2 import open_inference_pb2 as pb

from gateway.schemas.readiness import decode_number, encode_name, encode_truth


@given(st.text(max_size=300))
def test_names(name: str) -> None:
    assert encode_name(name) == HealthCheckRequest(service=name).SerializeToString()


@given(st.sampled_from(HealthCheckResponse.ServingStatus.values()))
def test_numbers(number: int) -> None:
    assert decode_number(HealthCheckResponse(status=number).SerializeToString()) == number


@pytest.mark.parametrize("value", [True, False])
def test_truth(value: bool) -> None:
    assert encode_truth(value) == pb.ModelReadyResponse(ready=value).SerializeToString()
    assert decode_number(encode_truth(value)) == value
