"""Inference requests and their answers, from either form into either form."""

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from gateway.operations.open_inference import read_head
from gateway.operations.open_inference_answer import header_length
from gateway.operations.open_inference_infer import GrpcInfer, RestInfer, StreamedInfer
from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest as bodies
from gateway.schemas.open_inference.dialect import Datatype, InferRequest, InferResponse, MalformedTensorError, Tensor
from gateway.schemas.open_inference.rest import HEADER_LENGTH, RestBody
from gateway.upstream.answer import UnaryAnswer
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.schemas.open_inference_strategies import raw_forms, requests, typed_tensors

FLOATS = Tensor(name="x", datatype=Datatype.FP32, shape=(2,), data=(0.5, -1.0))
RAW = replace(FLOATS, data=struct.pack("<2f", 0.5, -1.0))


def from_rest(body: RestBody, model: str = "m", version: str = "") -> RestInfer:
    return RestInfer(model=model, version=version, body=body.body, header_length=body.header_length)


def from_grpc(data: bytes) -> GrpcInfer:
    return GrpcInfer(head=read_head(data), data=data)


def rest_answer(body: RestBody, *headers: tuple[bytes, bytes]) -> UnaryAnswer:
    length = [] if body.header_length is None else [(HEADER_LENGTH.title().encode(), str(body.header_length).encode())]
    return UnaryAnswer(status=200, headers=[*headers, *length], body=body.body)


def answer_of(*tensors: Tensor, model: str = "theirs") -> InferResponse:
    return InferResponse(model=model, id="7", outputs=tensors)


def json_of(answer: UnaryAnswer) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = json.loads(answer.body[: header_length(answer)])
    return fields


@given(requests(typed_tensors()))
def test_request_over_rest_becomes_the_same_over_grpc_and_back(request: InferRequest) -> None:
    request = replace(request, model="m", version="")
    try:
        body = bodies.encode_request(request, binary=False)
    except MalformedTensorError:
        return  # JSON cannot say it
    over_grpc = messages.decode_request(from_rest(body).message("upstream"))
    assert (over_grpc.model, over_grpc.id, over_grpc.parameters) == ("upstream", request.id, request.parameters)
    assert raw_forms(over_grpc.inputs) == raw_forms(request.inputs)
    back = from_grpc(messages.with_model(from_rest(body).message("m"), "m")).rest_body()
    assert raw_forms(bodies.decode_request(back.body, back.header_length, model="m").inputs) == raw_forms(
        request.inputs
    )


def test_bytes_of_ones_own_form_are_left_alone() -> None:
    body = RestBody(body=b' {"x": 1.50}')
    assert from_rest(body).rest_body() == body
    data = messages.encode_request(InferRequest(model="m")) + b"\xf2\x7f\x03abc"
    assert from_grpc(data).message("m") is data
    assert from_grpc(data).message("n") == messages.with_model(data, "n")


@pytest.mark.parametrize(("tensor", "is_raw"), [(FLOATS, False), (RAW, True)])
def test_answer_has_the_form_of_the_request(tensor: Tensor, is_raw: bool) -> None:
    request = InferRequest(model="m", inputs=(tensor,))
    call = from_grpc(messages.encode_request(request))
    answer = rest_answer(bodies.encode_response(answer_of(FLOATS)))
    assert messages.decode_response(call.from_rest(answer, "m")).outputs == (tensor,)
    as_body = from_rest(bodies.encode_request(request, binary=is_raw))
    over_rest = as_body.from_grpc(messages.encode_response(answer_of(FLOATS)), "m")
    assert (header_length(over_rest) is not None) == is_raw
    assert bodies.decode_response(over_rest.body, header_length(over_rest)).outputs == (tensor,)


def test_answer_names_the_model_as_the_caller_does() -> None:
    over_grpc = messages.encode_response(answer_of(FLOATS))
    over_rest = rest_answer(bodies.encode_response(answer_of(FLOATS)))
    rest, message = (
        from_rest(RestBody(body=b'{"inputs":[]}')),
        from_grpc(messages.encode_request(InferRequest(model="m"))),
    )
    assert json_of(rest.from_rest(over_rest, "m"))["model_name"] == "m"
    assert json_of(rest.from_grpc(over_grpc, "m"))["model_name"] == "m"
    assert messages.decode_response(message.from_rest(over_rest, "m")).model == "m"
    assert messages.decode_response(message.from_grpc(over_grpc, "m")).model == "m"
    assert rest.from_rest(over_rest, None) is over_rest
    assert message.from_grpc(over_grpc, None) is over_grpc


def test_another_name_leaves_headers_and_binary_data_as_they_are() -> None:
    wanted = InferRequest(model="m", binary_outputs=True)
    answer = rest_answer(bodies.encode_response(answer_of(FLOATS), wanted), (b"X-Time", b"5"), (b"Content-Type", b"x"))
    renamed = from_rest(RestBody(body=b"{}")).from_rest(answer, "a-longer-name")
    assert (b"X-Time", b"5") in renamed.headers
    assert [name.lower() for name, _ in renamed.headers].count(b"content-type") == 1
    assert bodies.decode_response(renamed.body, header_length(renamed)).outputs == (RAW,)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"outputs": 5}'])
def test_rest_answer_that_is_none(body: bytes) -> None:
    call = from_grpc(messages.encode_request(InferRequest(model="m")))
    with pytest.raises(MalformedTensorError):
        call.from_rest(UnaryAnswer(status=200, headers=[], body=body), None)
    if not body.startswith(b"{"):
        with pytest.raises(MalformedTensorError):
            from_rest(RestBody(body=b"{}")).from_rest(UnaryAnswer(status=200, headers=[], body=body), None)


@pytest.mark.parametrize("length", [b"x", b"", b"99999", "²".encode("latin-1")])
def test_rest_answer_whose_header_length_is_none(length: bytes) -> None:
    answer = UnaryAnswer(status=200, headers=[(HEADER_LENGTH.encode(), length)], body=b'{"outputs": []}')
    with pytest.raises(MalformedTensorError):
        from_grpc(messages.encode_request(InferRequest(model="m"))).from_rest(answer, None)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"garbage"])
def test_grpc_answer_that_is_none(data: bytes) -> None:
    with pytest.raises(MalformedTensorError):
        from_grpc(messages.encode_request(InferRequest(model="m"))).from_grpc(data, None)
    with pytest.raises(MalformedTensorError):
        from_rest(RestBody(body=b'{"inputs":[]}')).from_grpc(data, None)


def test_answer_that_the_callers_form_cannot_carry_is_not_asked_for_again() -> None:
    nan = replace(FLOATS, data=(float("nan"), 0.0))
    with pytest.raises(AttemptFailedError) as caught:
        from_rest(RestBody(body=b'{"inputs":[]}')).from_grpc(messages.encode_response(answer_of(nan)), None)
    assert caught.value.failures == ()
    nested = RestBody(body=b'{"outputs":[],"parameters":{"a":{"b":1}}}')
    with pytest.raises(AttemptFailedError, match=r"parameters\.a"):
        from_grpc(messages.encode_request(InferRequest(model="m"))).from_rest(rest_answer(nested), None)


def test_fault_is_found_and_named() -> None:
    good = bodies.encode_request(InferRequest(model="m", inputs=(FLOATS,)), binary=False)
    assert from_rest(good).find_fault() is None
    wrong = from_rest(RestBody(body=good.body.replace(b"[2]", b"[3]"))).find_fault()
    assert wrong is not None
    assert wrong.param == "inputs[0].data"
    assert from_rest(RestBody(body=b"\0\1", header_length=0)).find_fault() is None
    message = messages.encode_request(InferRequest(model="m", inputs=(replace(FLOATS, shape=(3,)),)))
    assert from_grpc(messages.encode_request(InferRequest(model="m", inputs=(FLOATS,)))).find_fault() is None
    assert from_grpc(message).find_fault() is not None


def test_request_on_a_stream_is_answered_as_streams_are() -> None:
    data = messages.encode_request(InferRequest(model="m", inputs=(FLOATS,)))
    call = StreamedInfer(head=read_head(data), data=data)
    answered = answer_of(FLOATS)
    for told in (
        call.from_rest(rest_answer(bodies.encode_response(answered)), "m"),
        call.from_grpc(messages.encode_response(answered), "m"),
    ):
        assert messages.decode_stream_answer(told) == replace(answered, model="m")
    with pytest.raises(MalformedTensorError):
        call.from_grpc(b"\x2a\x02\x0a\x09", None)
