"""Metadata and errors of the Open Inference Protocol over REST."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.open_inference.dialect import MalformedTensorError, ModelMetadata, ServerMetadata, TensorMetadata
from gateway.schemas.open_inference.rest_metadata import (
    decode_model_metadata,
    decode_ready,
    decode_server_metadata,
    encode_model_metadata,
    encode_ready,
    encode_server_metadata,
    error_body,
    is_error,
    read_error,
    with_name,
)
from tests.gateway.schemas.open_inference_strategies import model_metadata, server_metadata

extras = st.dictionaries(st.sampled_from(["x-1", "x-2"]), st.integers() | st.lists(st.text()))


@given(st.builds(lambda metadata, extra: (metadata, extra), model_metadata, extras))
def test_model_metadata_survive(written: tuple[ModelMetadata, dict[str, object]]) -> None:
    metadata, extra = written
    body = json.dumps({**json.loads(encode_model_metadata(metadata)), **extra}).encode()
    read = decode_model_metadata(body)
    assert read.extra == extra
    assert json.loads(encode_model_metadata(read)) == json.loads(body)
    assert decode_model_metadata(encode_model_metadata(metadata)) == metadata


@given(server_metadata)
def test_server_metadata_survive(written: ServerMetadata) -> None:
    assert decode_server_metadata(encode_server_metadata(written)) == written


def test_metadata_of_the_least_words() -> None:
    assert decode_model_metadata(b'{"name":"m","platform":"","versions":null}') == ModelMetadata(name="m")
    assert decode_server_metadata(b'{"name":"s"}') == ServerMetadata(name="s")


def test_any_length_and_unknown_datatype_are_metadata() -> None:
    body = b'{"name":"m","inputs":[{"name":"x","datatype":"FP8","shape":[-1,3],"parameters":{"content_type":"np"}}]}'
    assert decode_model_metadata(body).inputs == (
        TensorMetadata(name="x", datatype="FP8", shape=(-1, 3), extra={"parameters": {"content_type": "np"}}),
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON"),
        (b"[]", "a JSON object is needed"),
        (b"{}", "name: is missing"),
        (b'{"name":"m","versions":[1]}', "versions[0]: a string is needed"),
        (b'{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":["2"]}]}', "inputs[0].shape[0]: an integer"),
        (b'{"name":"m","properties":{"a":1}}', "properties.a: a string is needed"),
    ],
)
def test_bad_model_metadata(body: bytes, message: str) -> None:
    with pytest.raises(MalformedTensorError) as caught:
        decode_model_metadata(body)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"name":"s","extensions":[1]}'])
def test_bad_server_metadata(body: bytes) -> None:
    with pytest.raises(MalformedTensorError):
        decode_server_metadata(body)


@given(st.text())
def test_error_survives(message: str) -> None:
    assert read_error(error_body(message)) == message


def test_error_of_fastapi() -> None:
    body = b'{"detail":[{"loc":["body","inputs"],"msg":"Field required"},{"loc":["body",1],"msg":"JSON decode error"}]}'
    assert read_error(body) == "Field required; JSON decode error"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"Internal Server Error", b"[]", b"{}", b'{"error":null}', b'{"error":{"message":"x"}}'),
        *(b'{"detail":[7]}', b'{"detail":[{"loc":[]}]}'),
    ],
)
def test_what_is_no_error_of_this_protocol(body: bytes) -> None:
    assert read_error(body) is None


def test_only_errors_as_the_protocol_has_them_are_such() -> None:
    assert is_error(error_body("x"))
    for body in (b"", b"[]", b"{}", b'{"error":{"message":"x"}}', b'{"detail":[{"msg":"x"}]}', b'{"error":""}'):
        assert not is_error(body)


@given(st.text(), st.booleans())
def test_readiness_survives(model: str, ready: bool) -> None:
    body = encode_ready(model, ready=ready)
    assert (json.loads(body)["name"], decode_ready(body)) == (model, ready)


@pytest.mark.parametrize("body", [b"", b"ok", b"[]", b"{}", b'{"ready":null}', b'{"ready":"no"}'])
def test_body_that_does_not_say_that_a_model_is_not_ready(body: bytes) -> None:
    assert decode_ready(body)


@given(model_metadata, st.text())
def test_another_name(metadata: ModelMetadata, name: str) -> None:
    body = encode_model_metadata(metadata)
    assert json.loads(with_name(body, name)) == json.loads(body) | {"name": name}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_another_name_of_nothing(body: bytes) -> None:
    with pytest.raises(MalformedTensorError, match="the body is not a JSON object"):
        with_name(body, "m")
