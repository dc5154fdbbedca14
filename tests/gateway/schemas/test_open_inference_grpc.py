"""The Open Inference Protocol over gRPC: messages survive, raw and typed contents say the same, and broken bytes are
malformed and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from janua.open_inference.v2 import open_inference_pb2 as pb

from gateway.schemas.open_inference.dialect import (
    Datatype,
    InferRequest,
    InferResponse,
    MalformedTensorError,
    ModelMetadata,
    RequestedOutput,
    ServerMetadata,
    StreamError,
    Tensor,
)
from gateway.schemas.open_inference.grpc import (
    RequestHead,
    decode_model_metadata,
    decode_request,
    decode_response,
    decode_server_metadata,
    decode_stream_answer,
    encode_model_metadata,
    encode_request,
    encode_response,
    encode_server_metadata,
    encode_stream_answer,
    read_request_head,
    relay_stream_answer,
    with_model,
)
from tests.gateway.schemas.open_inference_strategies import (
    model_metadata,
    names,
    raw_forms,
    raw_tensors,
    requests,
    responses,
    server_metadata,
    typed_tensors,
)

whole_tensors = typed_tensors().filter(lambda tensor: tensor.datatype is not Datatype.FP16)
"""Those that have typed contents."""


@given(requests(whole_tensors) | requests(raw_tensors()))
def test_request_survives(written: InferRequest) -> None:
    assert decode_request(encode_request(written)) == written


@given(responses(whole_tensors) | responses(raw_tensors()))
def test_answer_survives(written: InferResponse) -> None:
    assert decode_response(encode_response(written)) == written


@given(requests(typed_tensors()))
def test_raw_and_typed_contents_say_the_same(written: InferRequest) -> None:
    raw = decode_request(encode_request(written, raw=True))
    assert all(tensor.is_raw for tensor in raw.inputs)
    typed = decode_request(encode_request(raw, raw=False))
    assert raw_forms(typed.inputs) == raw_forms(raw.inputs) == raw_forms(written.inputs)
    if all(tensor.datatype is not Datatype.FP16 for tensor in written.inputs):
        assert typed == written


@pytest.mark.parametrize("half", [Datatype.FP16, Datatype.BF16])
def test_one_half_float_makes_all_contents_raw(half: Datatype) -> None:
    tensors = (
        Tensor(name="x", datatype=Datatype.INT8, shape=(1,), data=(-1,)),
        Tensor(name="y", datatype=half, shape=(1,), data=b"\0\1"),
    )
    message = pb.ModelInferRequest.FromString(encode_request(InferRequest(model="m", inputs=tensors), raw=False))
    assert list(message.raw_input_contents) == [b"\xff", b"\0\1"]
    assert not any(each.HasField("contents") for each in message.inputs)


@pytest.mark.parametrize(
    ("datatype", "field", "data"),
    [
        ("BOOL", "bool_contents", (True,)),
        ("UINT8", "uint_contents", (1,)),
        ("UINT16", "uint_contents", (1,)),
        ("UINT32", "uint_contents", (1,)),
        ("UINT64", "uint64_contents", (2**64 - 1,)),
        ("INT8", "int_contents", (-1,)),
        ("INT16", "int_contents", (-1,)),
        ("INT32", "int_contents", (-1,)),
        ("INT64", "int64_contents", (-(2**63),)),
        ("FP32", "fp32_contents", (0.5,)),
        ("FP64", "fp64_contents", (0.1,)),
        ("BYTES", "bytes_contents", (b"\xff",)),
    ],
)
def test_each_datatype_has_its_list(datatype: str, field: str, data: Any) -> None:
    tensor = Tensor(name="x", datatype=Datatype(datatype), shape=(1,), data=data)
    message = pb.ModelInferRequest.FromString(encode_request(InferRequest(model="m", inputs=(tensor,))))
    assert [(found.name, tuple(values)) for found, values in message.inputs[0].contents.ListFields()] == [(field, data)]


def test_every_kind_of_parameter() -> None:
    written: dict[str, Any] = {"b": True, "i": -(2**63), "s": "ü", "d": 0.1, "u": 2**64 - 1, "zero": 0, "no": False}
    data = encode_request(InferRequest(model="m", parameters=written))
    message = pb.ModelInferRequest.FromString(data)
    kinds = {name: parameter.WhichOneof("parameter_choice") for name, parameter in message.parameters.items()}
    assert kinds == {
        "b": "bool_param",
        "i": "int64_param",
        "s": "string_param",
        "d": "double_param",
        "u": "uint64_param",
        "zero": "int64_param",
        "no": "bool_param",
    }
    assert decode_request(data).parameters == written


def test_parameters_without_a_value_are_left_out() -> None:
    message = pb.ModelInferRequest(parameters={"empty": pb.InferParameter()})
    assert decode_request(message.SerializeToString()).parameters == {}
    assert decode_request(encode_request(InferRequest(model="m", parameters={"null": None}))).parameters == {}


@pytest.mark.parametrize("value", [[1], {"a": 1}, 2**64, -(2**63) - 1])
def test_parameter_that_grpc_does_not_have(value: object) -> None:
    tensor = Tensor(name="x", datatype=Datatype.INT8, shape=(0,), data=(), parameters={"p": value})
    with pytest.raises(MalformedTensorError) as caught:
        encode_request(InferRequest(model="m", inputs=(tensor,)))
    assert caught.value.param == "inputs[0].parameters.p"
    with pytest.raises(MalformedTensorError) as caught:
        encode_request(InferRequest(model="m", outputs=(RequestedOutput(name="y", parameters={"p": value}),)))
    assert caught.value.param == "outputs[0].parameters.p"


def message_with(*inputs: pb.ModelInferRequest.InferInputTensor, raw: list[bytes] | None = None) -> bytes:
    return pb.ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raw).SerializeToString()


def tensor(datatype: str, shape: list[int], name: str = "x", **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=datatype,
        shape=shape,
        contents=pb.InferTensorContents(**contents) if contents else None,
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (message_with(tensor("FP33", [1])), "inputs[0].datatype: 'FP33' is not a datatype"),
        (message_with(tensor("INT8", [-1])), "inputs[0].shape: a dimension cannot have the length -1"),
        (
            message_with(tensor("INT8", [2], int_contents=[1])),
            "inputs[0].data: shape [2] needs 2 elements, there are 1",
        ),
        (
            message_with(tensor("INT8", [10**9, 10**9])),
            "inputs[0].data: shape [1000000000, 1000000000] needs 1000000000",
        ),
        (message_with(tensor("INT8", [1], int_contents=[128])), "inputs[0].data[0]: 128 is not in the range of INT8"),
        (message_with(tensor("UINT16", [1], uint_contents=[2**16])), "inputs[0].data[0]: 65536 is not in the range"),
        (
            message_with(tensor("FP64", [1], fp32_contents=[1])),
            "inputs[0].contents: FP64 is in fp64_contents, not in fp32_contents",
        ),
        (
            message_with(tensor("INT64", [1], int64_contents=[1], int_contents=[1])),
            "inputs[0].contents: INT64 is in int64_contents, not in int_contents",
        ),
        (message_with(tensor("FP16", [1], fp32_contents=[1])), "inputs[0].contents: FP16 has raw contents only"),
        (message_with(tensor("BF16", [0])), "inputs[0].contents: BF16 has raw contents only"),
        (message_with(tensor("INT8", [0]), tensor("INT8", [0])), "inputs[1].name: the name occurs twice"),
        (
            message_with(tensor("INT8", [1]), raw=[b"a", b"b"]),
            "raw_input_contents: there are 2 raw contents for 1 inputs",
        ),
        (
            message_with(tensor("INT8", [1]), tensor("INT8", [1], "y"), raw=[b"a"]),
            "raw_input_contents: there are 1 raw contents for 2 inputs",
        ),
        (
            message_with(tensor("INT8", [1], int_contents=[1]), raw=[b"a"]),
            "inputs[0].contents: contents are given both here and raw",
        ),
        (
            message_with(tensor("INT32", [1]), raw=[b"abc"]),
            "inputs[0].data: shape [1] of INT32 needs 4 bytes, there are 3",
        ),
        (
            message_with(tensor("BYTES", [1]), raw=[b"\5\0\0\0a"]),
            "inputs[0].data[0]: the raw bytes end within an element",
        ),
        (b"\xff", "the bytes are not a ModelInferRequest"),
    ],
)
def test_bad_request(data: bytes, message: str) -> None:
    with pytest.raises(MalformedTensorError) as caught:
        decode_request(data)
    assert str(caught.value).startswith(message)


def test_bad_answer_names_the_output() -> None:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[2])
    data = pb.ModelInferResponse(outputs=[output], raw_output_contents=[b"1234"]).SerializeToString()
    with pytest.raises(MalformedTensorError, match=r"^outputs\[0\].data: shape \[2\] of FP32 needs 8 bytes"):
        decode_response(data)
    data = pb.ModelInferResponse(outputs=[output], raw_output_contents=[b"", b""]).SerializeToString()
    with pytest.raises(MalformedTensorError, match=r"^raw_output_contents: there are 2 raw contents for 1 outputs"):
        decode_response(data)


@given(requests(whole_tensors) | requests(raw_tensors()), st.data())
def test_truncated_message_is_malformed_or_shorter(written: InferRequest, data: st.DataObject) -> None:
    whole = encode_request(written)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        decode_request(cut)
    except MalformedTensorError:
        return
    # Where the cut falls between two fields, it is a message too.
    assert pb.ModelInferRequest.FromString(cut).ByteSize() <= len(whole)


@given(st.binary())
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (
        decode_request,
        decode_response,
        decode_stream_answer,
        decode_model_metadata,
        decode_server_metadata,
        read_request_head,
        lambda data: relay_stream_answer(data, "m"),
    ):
        try:
            decode(data)
        except MalformedTensorError as error:
            assert str(error)  # noqa: PT017 - most garbage is malformed, some is an empty message


@given(requests(raw_tensors()), names)
def test_head_and_another_model_of_a_request(written: InferRequest, model: str) -> None:
    data = encode_request(written)
    assert read_request_head(data) == RequestHead(model=written.model, version=written.version, id=written.id)
    assert decode_request(with_model(data, "another")) == replace(written, model="another")


@given(responses(raw_tensors()))
def test_another_model_of_an_answer(written: InferResponse) -> None:
    assert decode_response(with_model(encode_response(written), "another")) == replace(written, model="another")


@given(responses(whole_tensors) | responses(raw_tensors()))
def test_answer_survives_a_stream(written: InferResponse) -> None:
    assert decode_stream_answer(encode_stream_answer(written)) == written


# A server names its model in each answer, and an answer without outputs still has the id of its request.
named = st.tuples(responses(whole_tensors) | responses(raw_tensors()), st.text(min_size=1, max_size=5)).map(
    lambda pair: replace(pair[0], model="iris", id=pair[1])
)


@given(named)
def test_bare_answer_on_a_stream_is_told_apart(written: InferResponse) -> None:
    assert decode_stream_answer(encode_response(written)) == written


@pytest.mark.parametrize("version", ["", "1", "2", "v1", "v1.2.0", "20240101", "a\x01", '"', "2\x00"])
def test_bare_answer_of_any_version_is_told_apart(version: str) -> None:
    output = Tensor(name="y", datatype=Datatype.INT64, shape=(1,), data=(1,))
    written = InferResponse(model="iris", version=version, outputs=(output,))
    assert decode_stream_answer(encode_response(written)) == written


@given(st.text(min_size=1), names)
def test_error_survives_a_stream(message: str, request_id: str) -> None:
    error = StreamError(message=message, id=request_id)
    assert decode_stream_answer(encode_stream_answer(error)) == error


def test_error_without_an_id_has_no_answer_beside_it() -> None:
    message = pb.ModelStreamInferResponse.FromString(encode_stream_answer(StreamError(message="no")))
    assert not message.HasField("infer_response")


@given(named)
def test_answers_of_both_servers_are_relayed_in_one_form(written: InferResponse) -> None:
    expected = pb.ModelStreamInferResponse.FromString(encode_stream_answer(replace(written, model="another")))
    for data in (encode_response(written), encode_stream_answer(written)):
        assert pb.ModelStreamInferResponse.FromString(relay_stream_answer(data, "another")) == expected


def test_error_on_a_stream_is_relayed_as_it_is() -> None:
    data = encode_stream_answer(StreamError(message="no", id="7"))
    assert relay_stream_answer(data, "another") == data


@given(model_metadata)
def test_model_metadata_survive(written: ModelMetadata) -> None:
    assert decode_model_metadata(encode_model_metadata(written)) == written


@given(server_metadata)
def test_server_metadata_survive(written: ServerMetadata) -> None:
    assert decode_server_metadata(encode_server_metadata(written)) == written
