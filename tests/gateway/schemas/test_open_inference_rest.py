"""The Open Inference Protocol over REST: requests and answers survive, with and without binary data, and a bad body is
told by the place that is bad."""

import json
import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.schemas.open_inference.dialect import (
    Datatype,
    InferRequest,
    InferResponse,
    MalformedTensorError,
    RequestedOutput,
    Tensor,
)
from gateway.schemas.open_inference.rest import (
    HEADER_LENGTH,
    RestBody,
    check_request,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    read_header_length,
    with_model,
)
from tests.gateway.schemas.open_inference_strategies import (
    raw_forms,
    raw_tensors,
    requests,
    responses,
    typed_tensors,
)

INPUT = {"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2]}


def request_body(*inputs: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"inputs": inputs, **fields}).encode()


def with_binary(header: bytes, data: bytes) -> tuple[bytes, int]:
    return header + data, len(header)


def read(body: RestBody, request: InferRequest) -> InferRequest:
    return decode_request(body.body, body.header_length, model=request.model, version=request.version)


@given(requests(typed_tensors()))
def test_request_survives_json(written: InferRequest) -> None:
    body = encode_request(written, binary=False)
    assert (body.header_length, body.content_type) == (None, "application/json")
    assert read(body, written) == written


@given(requests(raw_tensors()))
def test_request_survives_binary_data(written: InferRequest) -> None:
    body = encode_request(written, binary=True)
    assert body.content_type == "application/octet-stream"
    assert read(body, written) == replace(written, binary_outputs=True)


@given(responses(typed_tensors()))
def test_answer_survives_json(written: InferResponse) -> None:
    body = encode_response(written)
    assert body.header_length is None
    assert decode_response(body.body, None) == written


@given(responses(raw_tensors()), st.booleans(), st.data())
def test_answer_has_binary_data_where_the_request_wants_them(
    written: InferResponse, default: bool, data: st.DataObject
) -> None:
    binary = {
        tensor.name: data.draw(st.sampled_from([True, None] if default else [True])) for tensor in written.outputs
    }
    outputs = tuple(RequestedOutput(name=name, binary=wanted) for name, wanted in binary.items())
    body = encode_response(written, InferRequest(model="m", outputs=outputs, binary_outputs=default))
    assert decode_response(body.body, body.header_length) == written
    assert (body.header_length is not None) == bool(written.outputs)


@given(requests(typed_tensors()))
def test_elements_and_binary_data_say_the_same(written: InferRequest) -> None:
    over_json = read(encode_request(written, binary=False), written)
    over_bytes = read(encode_request(written, binary=True), written)
    assert all(tensor.is_raw for tensor in over_bytes.inputs)
    assert raw_forms(over_bytes.inputs) == raw_forms(over_json.inputs)


def test_request_of_the_specification() -> None:
    body = b"""{
      "id" : "42",
      "inputs" : [
        {"name" : "input0", "shape" : [ 2, 2 ], "datatype" : "UINT32", "data" : [ 1, 2, 3, 4 ]},
        {"name" : "input1", "shape" : [ 1 ], "datatype" : "BOOL", "data" : [ true ]}
      ],
      "outputs" : [ {"name" : "output0"} ]
    }"""
    assert decode_request(body, None, model="m", version="3") == InferRequest(
        model="m",
        version="3",
        id="42",
        inputs=(
            Tensor(name="input0", datatype=Datatype.UINT32, shape=(2, 2), data=(1, 2, 3, 4)),
            Tensor(name="input1", datatype=Datatype.BOOL, shape=(1,), data=(True,)),
        ),
        outputs=(RequestedOutput(name="output0"),),
    )


def test_request_of_the_binary_extension() -> None:
    header = json.dumps(
        {
            "model_name": "mymodel",
            "parameters": {"binary_data_output": True, "timeout": 7},
            "inputs": [
                {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "parameters": {"binary_data_size": 16}},
                INPUT,
                {"name": "input1", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3, "a": 1}},
            ],
            "outputs": [{"name": "output0", "parameters": {"binary_data": False, "classification": 2}}],
        }
    ).encode()
    data = struct.pack("<4I", 1, 2, 3, 4)
    request = decode_request(*with_binary(header, data + b"\1\0\1"), model="m")
    assert [(tensor.name, tensor.data, tensor.parameters) for tensor in request.inputs] == [
        ("input0", data, {}),
        ("x", (1, 2), {}),
        ("input1", b"\1\0\1", {"a": 1}),
    ]
    assert (request.binary_outputs, request.parameters) == (True, {"timeout": 7})
    assert request.outputs == (RequestedOutput(name="output0", binary=False, parameters={"classification": 2}),)
    assert (request.wants_binary("output0"), request.wants_binary("output1")) == (False, True)
    assert request.extra == {"model_name": "mymodel"}


def test_unknown_fields_survive() -> None:
    body = request_body({**INPUT, "unit": {"of": "length"}}, outputs=[{"name": "y", "rank": 1}], trace=[1, None])
    written = decode_request(body, None, model="m")
    assert json.loads(encode_request(written, binary=False).body) == json.loads(body)
    answer = json.dumps({"model_name": "m", "outputs": [{**INPUT, "unit": "m"}], "timing": {"ms": 3}}).encode()
    assert json.loads(encode_response(decode_response(answer, None)).body) == json.loads(answer)


def test_fields_that_are_null_are_not_there() -> None:
    null = request_body({**INPUT, "parameters": None}, id=None, parameters=None, outputs=None)
    assert decode_request(null, None, model="m") == decode_request(request_body(INPUT), None, model="m")


def test_nested_data_are_read_as_flat_ones() -> None:
    nested = {"name": "x", "shape": [2, 2], "datatype": "BYTES", "data": [["a", "zwölf"], ["", "🙂"]]}
    tensor = decode_request(request_body(nested), None, model="m").inputs[0]
    assert tensor.data == (b"a", "zwölf".encode(), b"", "🙂".encode())


def test_integers_in_a_float_tensor_become_floats() -> None:
    tensor = decode_request(request_body({**INPUT, "datatype": "FP32"}), None, model="m").inputs[0]
    assert list(map(type, tensor.data)) == [float, float]


BAD_INPUTS: list[tuple[dict[str, Any], str]] = [
    ({"data": [1, 2, 3]}, r"inputs[0].data: shape [2] needs 2 elements, there are 3"),
    ({"shape": [2, 3], "data": [1, 2, 3, 4, 5]}, r"inputs[0].data: shape [2, 3] needs 6 elements, there are 5"),
    ({"shape": [2, 1], "data": [[1, 2]]}, "inputs[0].data: the arrays are not nested as shape [2, 1] says"),
    ({"shape": [10**9, 10**9]}, "inputs[0].data: shape [1000000000, 1000000000] needs 1000000000000000000 elements"),
    ({"shape": [-1]}, "inputs[0].shape: a dimension cannot have the length -1"),
    ({"shape": [2**64]}, "inputs[0].shape: a dimension cannot be longer than"),
    ({"shape": [1.5]}, "inputs[0].shape[0]: an integer is needed"),
    ({"shape": [True, 2]}, "inputs[0].shape[0]: an integer is needed"),
    ({"shape": "2"}, "inputs[0].shape: an array is needed"),
    ({"shape": None}, "inputs[0].shape: is missing"),
    ({"datatype": "INT"}, "inputs[0].datatype: 'INT' is not a datatype"),
    ({"datatype": 7}, "inputs[0].datatype: a string is needed"),
    ({"datatype": None}, "inputs[0].datatype: is missing"),
    ({"name": None}, "inputs[0].name: is missing"),
    ({"name": 1}, "inputs[0].name: a string is needed"),
    ({"data": None}, "inputs[0].data: is missing"),
    ({"data": "12"}, "inputs[0].data: an array is needed"),
    ({"data": [1, 2.5]}, "inputs[0].data: not all elements are INT32: Expected `int`, got `float` - at `$[1]`"),
    ({"data": [1, 2.0]}, "inputs[0].data: not all elements are INT32"),
    ({"data": [1, True]}, "inputs[0].data: not all elements are INT32"),
    ({"data": [1, None]}, "inputs[0].data: not all elements are INT32"),
    ({"data": [1, [2]]}, "inputs[0].data: not all elements are INT32"),
    ({"data": [1, "2"]}, "inputs[0].data: not all elements are INT32"),
    ({"data": [1, 10**400]}, "inputs[0].data[1]:"),
    ({"datatype": "UINT8", "data": [1, 300]}, "inputs[0].data[1]: 300 is not in the range of UINT8"),
    ({"datatype": "FP16", "data": [1, 7e4]}, "inputs[0].data[1]: 70000.0 is not in the range of FP16"),
    ({"datatype": "FP32", "data": [1, 1e300]}, "inputs[0].data[1]: 1e+300 is not in the range of FP32"),
    ({"datatype": "FP64", "data": [1, 10**400]}, "inputs[0].data: not all elements are FP64"),
    ({"datatype": "FP64", "data": [1, None]}, "inputs[0].data: not all elements are FP64"),
    ({"datatype": "BOOL", "data": [True, 1]}, "inputs[0].data: not all elements are BOOL"),
    ({"datatype": "BYTES", "data": ["a", 1]}, "inputs[0].data: not all elements are BYTES"),
    ({"datatype": "BF16"}, "inputs[0].data: BF16 has no form in JSON; send binary data"),
    ({"parameters": []}, "inputs[0].parameters: an object is needed"),
    ({"parameters": {"binary_data_size": "8"}}, "inputs[0].parameters.binary_data_size: an integer is needed"),
    ({"parameters": {"binary_data_size": 8}}, "inputs[0].data: data are given both here and as binary data"),
    (
        {"data": None, "parameters": {"binary_data_size": 8}},
        "inputs[0].parameters.binary_data_size: there are no binary",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_INPUTS)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedTensorError) as caught:
        decode_request(request_body({**INPUT, **change}), None, model="m")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not valid JSON"),
        (b"{", "the body is not valid JSON"),
        (b"[]", "a JSON object is needed"),
        (b"\xff", "the body is not valid JSON"),
        (b'{"id":"\xff"}', "the body is not valid JSON"),
        (b"[" * 100_000, "the body is not valid JSON"),
        (b'{"inputs":[{"data":[NaN]}]}', "the body is not valid JSON"),
        (b"{}", "inputs: is missing"),
        (b'{"inputs":{}}', "inputs: an array is needed"),
        (b'{"inputs":[7]}', "inputs[0]: a JSON object is needed"),
        (b'{"inputs":[],"outputs":[{}]}', "outputs[0].name: is missing"),
        (b'{"inputs":[],"id":7}', "id: a string is needed"),
        (
            b'{"inputs":[],"parameters":{"binary_data_output":1}}',
            "parameters.binary_data_output: true or false is needed",
        ),
        (request_body(INPUT, {**INPUT, "name": "y"}, INPUT), "inputs[2].name: the name occurs twice"),
    ],
)
def test_bad_request(body: bytes, message: str) -> None:
    with pytest.raises(MalformedTensorError) as caught:
        decode_request(body, None, model="m")
    assert str(caught.value).startswith(message)


BINARY_INPUT = {"name": "x", "shape": [2], "datatype": "INT8", "parameters": {"binary_data_size": 2}}


@pytest.mark.parametrize(
    ("size", "data", "message"),
    [
        (2, b"", "inputs[0].parameters.binary_data_size: 2 bytes are asked for, 0 are there"),
        (2, b"a", "inputs[0].parameters.binary_data_size: 2 bytes are asked for, 1 are there"),
        (-1, b"ab", "inputs[0].parameters.binary_data_size: -1 bytes are asked for"),
        (1, b"ab", "inputs[0].data: shape [2] of INT8 needs 2 bytes, there are 1"),
        (2, b"abc", "1 bytes of binary data belong to no tensor"),
        (10**15, b"abc", "inputs[0].parameters.binary_data_size: 1000000000000000 bytes are asked for, 3 are there"),
    ],
)
def test_binary_data_of_another_size(size: int, data: bytes, message: str) -> None:
    header = request_body({**BINARY_INPUT, "parameters": {"binary_data_size": size}})
    with pytest.raises(MalformedTensorError) as caught:
        decode_request(*with_binary(header, data), model="m")
    assert str(caught.value).startswith(message)


def test_binary_data_behind_an_answer_that_belong_to_no_tensor() -> None:
    header = json.dumps({"model_name": "m", "outputs": [BINARY_INPUT]}).encode()
    with pytest.raises(MalformedTensorError, match="1 bytes of binary data belong to no tensor"):
        decode_response(*with_binary(header, b"abc"))


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (-1, "inference-header-content-length is -1, but the body has"),
        (10**6, "inference-header-content-length is 1000000, but the body has"),
        (0, "binary data without JSON before them do not tell what they are"),
    ],
)
def test_header_length_outside_the_body(length: int, message: str) -> None:
    with pytest.raises(MalformedTensorError, match=message):
        decode_request(request_body(INPUT), length, model="m")
    with pytest.raises(MalformedTensorError, match=message):
        with_model(request_body(INPUT), length, "m")


@given(st.binary() | st.text().map(str.encode), st.none() | st.integers(-5, 50))
@example(b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}', None)
def test_garbage_is_malformed_and_nothing_else(body: bytes, length: int | None) -> None:
    with pytest.raises(MalformedTensorError):
        decode_request(body, length, model="m")
    with pytest.raises(MalformedTensorError):
        decode_response(body, length)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*INPUT, "parameters"]), json_values), json_values)
def test_strange_fields_are_malformed_or_survive(change: dict[str, Any], parameters: Any) -> None:
    try:
        request = decode_request(request_body({**INPUT, **change}, parameters=parameters), None, model="m")
    except MalformedTensorError:
        return
    assert read(encode_request(request, binary=False), request) == request


@given(requests(raw_tensors()), st.data())
def test_binary_body_that_is_cut_short(written: InferRequest, data: st.DataObject) -> None:
    body = encode_request(written, binary=True)
    cut = data.draw(st.integers(0, len(body.body) - 1))
    with pytest.raises(MalformedTensorError):
        decode_request(body.body[:cut], body.header_length, model="m")


def answer_of(datatype: str, data: Any, **fields: Any) -> InferResponse:
    tensor = Tensor(name="y", datatype=Datatype(datatype), shape=(1,), data=data, **fields)
    return InferResponse(model="m", outputs=(tensor,))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_number_that_json_does_not_have(datatype: str, value: float) -> None:
    with pytest.raises(MalformedTensorError, match=r"^outputs\[0\].data: JSON has no NaN and no infinity; use binary"):
        encode_response(answer_of(datatype, (value,)))
    body = encode_response(answer_of(datatype, (value,)), InferRequest(model="m", binary_outputs=True))
    assert raw_forms(decode_response(body.body, body.header_length).outputs) == raw_forms(
        answer_of(datatype, (value,)).outputs
    )


def test_parameter_that_json_does_not_have() -> None:
    with pytest.raises(MalformedTensorError, match=r"^outputs\[0\].parameters.scale: JSON has no NaN"):
        encode_response(answer_of("INT8", (1,), parameters={"scale": math.nan}))
    with pytest.raises(MalformedTensorError, match=r"^parameters.scale: JSON has no NaN"):
        encode_request(InferRequest(model="m", parameters={"scale": math.inf}), binary=True)


def test_bytes_that_json_does_not_have() -> None:
    with pytest.raises(MalformedTensorError, match=r"^outputs\[0\].data\[0\]: JSON has only UTF-8"):
        encode_response(answer_of("BYTES", (b"\xff",)))


def test_base64_tensor_has_other_bytes_as_base64() -> None:
    """As MLServer writes them; a text is left alone, because it is base64 already."""
    for data, text in ((b"\xff\xfe", "//4="), (b"//4=", "//4=")):
        body = encode_response(answer_of("BYTES", (data,), parameters={"content_type": "base64"}))
        assert json.loads(body.body)["outputs"][0]["data"] == [text]


def test_raw_bf16_has_no_json() -> None:
    with pytest.raises(MalformedTensorError, match=r"^outputs\[0\].data: BF16 exists as raw bytes only"):
        encode_response(answer_of("BF16", b"\0\0"))


@given(responses(raw_tensors()))
def test_another_model_in_the_answer(written: InferResponse) -> None:
    body = encode_response(written, InferRequest(model="m", binary_outputs=True))
    changed = with_model(body.body, body.header_length, "another")
    assert decode_response(changed.body, changed.header_length) == replace(written, model="another")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_another_model_in_no_answer(body: bytes) -> None:
    with pytest.raises(MalformedTensorError, match="the body is not a JSON object"):
        with_model(body, None, "m")


@pytest.mark.parametrize(
    ("body", "length"), [(b'{"inputs": []}', None), (b'{"a": 1}\xff\xfe', 8), (b"\0\1", 0), (b"", 0)]
)
def test_request_that_may_be_passed_on(body: bytes, length: int | None) -> None:
    check_request(body, length)


@pytest.mark.parametrize(("body", "length"), [(b"", None), (b"[]", None), (b"{}\xff", None), (b"{}", 3), (b'{"a"', 4)])
def test_request_that_may_not_be_passed_on(body: bytes, length: int | None) -> None:
    with pytest.raises(MalformedTensorError):
        check_request(body, length)


def test_header_length() -> None:
    assert read_header_length(None) is None
    assert read_header_length(b"0123") == 123
    for told in (b"", b"-1", b"1.0", b"5, 5", b" 5", b"\xb2", b"9" * 13):
        with pytest.raises(MalformedTensorError, match=HEADER_LENGTH):
            read_header_length(told)
