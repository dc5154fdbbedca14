"""Readiness and metadata of models, from either form into either form."""

import json

import pytest

from gateway.operations.open_inference import read_head
from gateway.operations.open_inference_model import GrpcMetadata, GrpcReady, RestMetadata, RestReady
from gateway.schemas.open_inference import grpc as messages
from gateway.schemas.open_inference import rest_metadata as bodies
from gateway.schemas.open_inference.dialect import MalformedTensorError, ModelMetadata, TensorMetadata
from gateway.schemas.readiness import encode_truth
from gateway.upstream.answer import UnaryAnswer
from gateway.upstream.retry import AttemptFailedError

ASKED = messages.encode_model_query("m", "1")
METADATA = ModelMetadata(
    name="theirs", versions=("1",), platform="p", inputs=(TensorMetadata(name="x", datatype="FP32", shape=(-1, 2)),)
)


def answer(body: bytes = b"", status: int = 200) -> UnaryAnswer:
    return UnaryAnswer(status=status, headers=[(b"content-type", b"application/json")], body=body)


def grpc_ready() -> GrpcReady:
    return GrpcReady(head=read_head(ASKED), data=ASKED)


def grpc_metadata() -> GrpcMetadata:
    return GrpcMetadata(head=read_head(ASKED), data=ASKED)


def test_question_over_grpc() -> None:
    assert RestReady(model="m", version="1").message("theirs") == messages.encode_model_query("theirs", "1")
    assert grpc_ready().message("m") is ASKED
    assert messages.read_request_head(grpc_metadata().message("theirs")).model == "theirs"
    assert (grpc_ready().model, grpc_ready().version) == ("m", "1")


@pytest.mark.parametrize(
    ("status", "body", "is_ready"),
    [
        (200, b"", True),
        (200, b'{"name": "m", "ready": true}', True),
        (200, b'{"ready": false}', False),
        (200, b"<html>", True),
        (400, b"", False),
        (400, b'{"error": "not ready"}', False),
    ],
)
def test_readiness_from_rest_to_grpc(status: int, body: bytes, is_ready: bool) -> None:
    assert grpc_ready().from_rest(answer(body, status), None) == encode_truth(is_ready)


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 400)])
def test_readiness_from_grpc_to_rest(is_ready: bool, status: int) -> None:
    told = RestReady(model="m", version="").from_grpc(encode_truth(is_ready), None)
    assert (told.status, json.loads(told.body)) == (status, {"name": "m", "ready": is_ready})


def test_readiness_in_the_same_form_is_left_alone_but_for_the_name() -> None:
    call = RestReady(model="m", version="")
    for body in (b"", b"ok", b'{"name": "theirs", "more": 1.50}'):
        assert call.from_rest(answer(body), None).body == body
    assert json.loads(call.from_rest(answer(b'{"name": "theirs", "more": 1.5}'), "m").body) == {
        "name": "m",
        "more": 1.5,
    }
    assert call.from_rest(answer(b"ok", 400), "m") == answer(b"ok", 400)
    assert grpc_ready().from_grpc(b"\x08\x01", "m") == b"\x08\x01"


@pytest.mark.parametrize("data", [b"\x08", b"garbage", b"\x0a\x05a"])
def test_answer_over_grpc_that_is_none(data: bytes) -> None:
    for call in (RestReady(model="m", version=""), RestMetadata(model="m", version=""), grpc_ready(), grpc_metadata()):
        with pytest.raises(MalformedTensorError):
            call.from_grpc(data, None)


def test_metadata_name_the_model_as_the_caller_does() -> None:
    over_rest, over_grpc = answer(bodies.encode_model_metadata(METADATA)), messages.encode_model_metadata(METADATA)
    rest, grpc = RestMetadata(model="m", version="1"), grpc_metadata()
    for told in (rest.from_rest(over_rest, "m"), rest.from_grpc(over_grpc, "m")):
        found = bodies.decode_model_metadata(told.body)
        assert (found.name, found.inputs) == ("m", METADATA.inputs)
    for message in (grpc.from_rest(over_rest, "m"), grpc.from_grpc(over_grpc, "m")):
        decoded = messages.decode_model_metadata(message)
        assert (decoded.name, decoded.inputs) == ("m", METADATA.inputs)
    assert rest.from_rest(over_rest, None) is over_rest
    assert grpc.from_grpc(over_grpc, None) is over_grpc


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
def test_metadata_over_rest_that_are_none(body: bytes) -> None:
    with pytest.raises(MalformedTensorError):
        RestMetadata(model="m", version="").from_rest(answer(body), None)
    with pytest.raises(MalformedTensorError):
        grpc_metadata().from_rest(answer(body), None)


def test_metadata_that_grpc_cannot_carry() -> None:
    body = b'{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [99999999999999999999]}]}'
    with pytest.raises(AttemptFailedError):
        grpc_metadata().from_rest(answer(body), None)
