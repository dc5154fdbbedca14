"""Reading the top level of messages: the same texts that protobuf reads, and nothing from what is cut off."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from janua.open_inference.v2 import open_inference_pb2 as pb

from gateway.schemas.open_inference.dialect import InferRequest
from gateway.schemas.open_inference.grpc import encode_request
from gateway.schemas.protobuf_fields import read_texts
from tests.gateway.schemas.open_inference_strategies import raw_tensors, requests


@given(requests(raw_tensors()))
def test_texts_are_those_that_protobuf_reads(request: InferRequest) -> None:
    texts = read_texts(encode_request(request), {1, 2, 3})
    assert texts == {
        number: text
        for number, text in ((1, request.model), (2, request.version), (3, request.id))
        if text  # an empty one is not written
    }


@given(st.binary(max_size=40))
def test_what_protobuf_reads_is_read(data: bytes) -> None:
    """Groups apart, which proto3 does not have."""
    try:
        message = pb.ModelReadyRequest.FromString(data)
    except DecodeError:
        return
    try:
        texts = read_texts(data, {1, 2})
    except ValueError as error:
        assert "wire type 3" in str(error)  # noqa: PT017  # most data are read
        return
    assert (texts.get(1, ""), texts.get(2, "")) == (message.name, message.version)


def test_last_of_a_field_counts() -> None:
    assert read_texts(b"\x0a\x01a\x12\x01v\x0a\x01b", {1}) == {1: "b"}


def test_fields_of_all_kinds_are_stepped_over() -> None:
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x22\x80\x01" + bytes(128) + b"\x2a\x01x"
    assert read_texts(data, {5}) == {5: "x"}


@given(requests(raw_tensors()), st.data())
def test_message_that_is_cut_off_within_a_field_is_told(request: InferRequest, drawn: st.DataObject) -> None:
    whole = encode_request(request) + b"\x0a\x05model"
    cut = drawn.draw(st.integers(1, 6))
    with pytest.raises(ValueError, match="it ends within"):
        read_texts(whole[:-cut], {1})


@pytest.mark.parametrize(
    "data",
    [b"\x0f", b"\x00\x00", b"\x02\x01a", b"\x0a", b"\x0a\x02a", b"\x09\x01", b"\x0d\x01", b"\x08", b"\x80" * 11],
)
def test_garbage(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_texts(data, {1})


def test_text_that_is_no_text() -> None:
    assert read_texts(b"\x0a\x01\xff", {2}) == {}
    with pytest.raises(UnicodeDecodeError):
        read_texts(b"\x0a\x01\xff", {1})
