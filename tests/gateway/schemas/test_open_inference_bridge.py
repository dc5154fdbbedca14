"""Between REST and gRPC: nothing is lost on the way there and back, for all datatypes."""

import random
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.open_inference import grpc, rest, rest_metadata
from gateway.schemas.open_inference.dialect import (
    Datatype,
    InferRequest,
    InferResponse,
    MalformedTensorError,
    ModelMetadata,
    ServerMetadata,
    Tensor,
)
from tests.gateway.schemas.open_inference_strategies import (
    model_metadata,
    raw_forms,
    raw_tensors,
    requests,
    responses,
    server_metadata,
    typed_tensors,
)

WANTS_BINARY = InferRequest(model="m", binary_outputs=True)


def over_rest(request: InferRequest, *, binary: bool) -> InferRequest:
    body = rest.encode_request(request, binary=binary)
    read = rest.decode_request(body.body, body.header_length, model=request.model, version=request.version)
    return replace(read, binary_outputs=False)


def answer_over_rest(response: InferResponse, *, binary: bool) -> InferResponse:
    body = rest.encode_response(response, WANTS_BINARY if binary else None)
    return rest.decode_response(body.body, body.header_length)


@given(requests(typed_tensors()), st.booleans())
def test_request_from_rest_to_grpc_and_back(written: InferRequest, raw: bool) -> None:
    from_json = over_rest(written, binary=False)
    assert over_rest(grpc.decode_request(grpc.encode_request(from_json, raw=raw)), binary=False) == written


@given(responses(typed_tensors()), st.booleans())
def test_answer_from_rest_to_grpc_and_back(written: InferResponse, raw: bool) -> None:
    from_json = answer_over_rest(written, binary=False)
    assert answer_over_rest(grpc.decode_response(grpc.encode_response(from_json, raw=raw)), binary=False) == written


@given(requests(raw_tensors()))
def test_raw_request_from_grpc_to_rest_and_back(written: InferRequest) -> None:
    from_grpc = grpc.decode_request(grpc.encode_request(written))
    assert grpc.decode_request(grpc.encode_request(over_rest(from_grpc, binary=True))) == written


@given(requests(typed_tensors()))
def test_typed_request_from_grpc_to_rest_and_back(written: InferRequest) -> None:
    from_grpc = grpc.decode_request(grpc.encode_request(written))
    back = grpc.decode_request(grpc.encode_request(over_rest(from_grpc, binary=False)))
    assert back.parameters == written.parameters
    assert raw_forms(back.inputs) == raw_forms(written.inputs)


@given(responses(raw_tensors()))
def test_raw_answer_from_grpc_to_rest_and_back(written: InferResponse) -> None:
    from_grpc = grpc.decode_response(grpc.encode_response(written))
    assert grpc.decode_response(grpc.encode_response(answer_over_rest(from_grpc, binary=True))) == written


@given(responses(raw_tensors()))
def test_raw_answer_as_json_is_the_same_or_refused(written: InferResponse) -> None:
    try:
        read = answer_over_rest(written, binary=False)
    except MalformedTensorError:
        return
    assert raw_forms(read.outputs) == raw_forms(written.outputs)


@given(model_metadata)
def test_model_metadata(written: ModelMetadata) -> None:
    from_grpc = grpc.decode_model_metadata(grpc.encode_model_metadata(written))
    assert rest_metadata.decode_model_metadata(rest_metadata.encode_model_metadata(from_grpc)) == written


@given(server_metadata)
def test_server_metadata(written: ServerMetadata) -> None:
    from_grpc = grpc.decode_server_metadata(grpc.encode_server_metadata(written))
    assert rest_metadata.decode_server_metadata(rest_metadata.encode_server_metadata(from_grpc)) == written


def test_what_stays_behind_on_the_way_to_grpc() -> None:
    body = b'{"inputs":[],"trace":7,"outputs":[{"name":"y","parameters":{"binary_data":true,"classification":2}}]}'
    read = grpc.decode_request(grpc.encode_request(rest.decode_request(body, None, model="m")))
    assert read.extra == {}
    assert [(output.binary, output.parameters) for output in read.outputs] == [(None, {"classification": 2})]


def test_megabyte_is_bridged_in_well_under_a_second() -> None:
    numbers: tuple[Any, ...] = tuple(random.Random(1).random() for _ in range(262_144))
    tensor = Tensor(name="x", datatype=Datatype.FP32, shape=(262_144,), data=numbers)
    body = rest.encode_request(InferRequest(model="m", inputs=(tensor,)), binary=False).body
    started = time.process_time()
    message = grpc.encode_request(rest.decode_request(body, None, model="m"), raw=True)
    rest.encode_request(grpc.decode_request(message), binary=False)
    # Some 60 ms on one core of 2020; a loop in Python over the elements would take ten times that.
    assert time.process_time() - started < 1
    assert len(message) == pytest.approx(4 * 262_144, rel=0.01)
