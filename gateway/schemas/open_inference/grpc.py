"""The Open Inference Protocol over gRPC: the bytes of its messages to values and back.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md. JSON fields that
the messages do not know (`extra`) and wishes about the form of JSON bodies stay behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
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
    TensorData,
    TensorMetadata,
)
from gateway.schemas.open_inference.tensor import check_elements, check_raw, datatype_of, elements_of, raw_of
from gateway.schemas.protobuf_fields import read_texts

_M = TypeVar("_M", bound=Message)
_MessageTensor = pb.ModelInferRequest.InferInputTensor | pb.ModelInferResponse.InferOutputTensor

_CONTENTS = {
    Datatype.BOOL: "bool_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""The list that holds the elements of a datatype; FP16 and BF16 have none and are always raw."""


_HEAD_FIELDS = frozenset({1, 2, 3})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What routing needs of a request."""

    model: str
    version: str
    id: str


def read_request_head(data: bytes) -> RequestHead:
    """The head of a `ModelInferRequest`, whatever its tensors are, a `ModelReadyRequest` or a `ModelMetadataRequest`:
    they have model and version in the same fields. Raises `MalformedTensorError`."""
    texts = _read_head(data, "request")
    return RequestHead(model=texts.get(1, ""), version=texts.get(2, ""), id=texts.get(3, ""))


def check_answer(data: bytes) -> None:
    """Raises `MalformedTensorError` for bytes that are no whole message; what is in it is not looked at."""
    _read_head(data, "answer")


def _read_head(data: bytes, what: str) -> dict[int, str]:
    try:
        return read_texts(data, _HEAD_FIELDS)
    except ValueError as error:
        raise MalformedTensorError(f"the {what} is not a message of this protocol: {error}") from None


def encode_model_query(model: str, version: str) -> bytes:
    """A `ModelReadyRequest`, or a `ModelMetadataRequest`, which has the same bytes."""
    return pb.ModelReadyRequest(name=model, version=version).SerializeToString()


def with_model(data: bytes, model: str) -> bytes:
    """Any message that begins with the name of a model, such as a `ModelInferRequest` or a `ModelMetadataResponse`,
    with another name, all other bytes as they are.

    Of a field that occurs twice, the last counts: the name can be appended.
    """
    return data + pb.ModelInferRequest(model_name=model).SerializeToString()


def decode_request(data: bytes) -> InferRequest:
    """The request in a `ModelInferRequest`. Raises `MalformedTensorError`."""
    message = _parse(pb.ModelInferRequest, data)
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=_decode_tensors(message.inputs, message.raw_input_contents, "inputs"),
        outputs=tuple(
            RequestedOutput(name=output.name, parameters=_decode_parameters(output.parameters))
            for output in message.outputs
        ),
        parameters=_decode_parameters(message.parameters),
    )


def encode_request(request: InferRequest, *, raw: bool | None = None) -> bytes:
    """A `ModelInferRequest`, with raw contents if `raw`; None: if a tensor is raw. FP16 and BF16 are always raw."""
    message = pb.ModelInferRequest(
        model_name=request.model,
        model_version=request.version,
        id=request.id,
        parameters=_encode_parameters(request.parameters, ""),
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(
                name=output.name, parameters=_encode_parameters(output.parameters, f"outputs[{index}]")
            )
            for index, output in enumerate(request.outputs)
        ],
    )
    is_raw = _is_raw(request.inputs, raw)
    for index, tensor in enumerate(request.inputs):
        _encode_tensor(tensor, message.inputs.add(), f"inputs[{index}]", is_raw)
    if is_raw:
        message.raw_input_contents.extend(_raw_contents(request.inputs, "inputs"))
    return message.SerializeToString()


def decode_response(data: bytes) -> InferResponse:
    """The answer in a `ModelInferResponse`. Raises `MalformedTensorError`."""
    return _decode_response(_parse(pb.ModelInferResponse, data))


def encode_response(response: InferResponse, *, raw: bool | None = None) -> bytes:
    """A `ModelInferResponse`; `raw` as in `encode_request`. Callers who sent raw inputs read raw outputs only."""
    return _encode_response(response, raw).SerializeToString()


def decode_stream_answer(data: bytes) -> InferResponse | StreamError:
    """One answer on a stream: Triton's `ModelStreamInferResponse`, or the `ModelInferResponse` that MLServer sends."""
    message = _parse_stream_answer(data)
    if message.error_message:
        return StreamError(message=message.error_message, id=message.infer_response.id)
    return _decode_response(message.infer_response)


def encode_stream_answer(answer: InferResponse | StreamError, *, raw: bool | None = None) -> bytes:
    """A `ModelStreamInferResponse`; `raw` as in `encode_response`."""
    if isinstance(answer, InferResponse):
        return pb.ModelStreamInferResponse(infer_response=_encode_response(answer, raw)).SerializeToString()
    message = pb.ModelStreamInferResponse(error_message=answer.message)
    if answer.id:
        message.infer_response.id = answer.id
    return message.SerializeToString()


def relay_stream_answer(data: bytes, model: str) -> bytes:
    """An answer of either server as a `ModelStreamInferResponse` with this model's name; tensors are not looked at."""
    message = _parse_stream_answer(data)
    if not message.error_message:
        message.infer_response.model_name = model
    return message.SerializeToString()


def _parse_stream_answer(data: bytes) -> pb.ModelStreamInferResponse:
    """Triton and MLServer put different messages on the same method.

    They are told apart by what only an answer has: outputs, an id or parameters at the top, or a version that is no
    message. An answer of MLServer with nothing but its model's name would pass for an error; it never sends one.
    """
    try:
        message = pb.ModelStreamInferResponse.FromString(data)
    except DecodeError:
        message = None
    if message is not None and not len(UnknownFieldSet(message)):
        return message
    return pb.ModelStreamInferResponse(infer_response=_parse(pb.ModelInferResponse, data))


def decode_model_metadata(data: bytes) -> ModelMetadata:
    """What a `ModelMetadataResponse` says. Raises `MalformedTensorError`."""
    message = _parse(pb.ModelMetadataResponse, data)
    return ModelMetadata(
        name=message.name,
        versions=tuple(message.versions),
        platform=message.platform,
        inputs=_decode_tensor_metadata(message.inputs),
        outputs=_decode_tensor_metadata(message.outputs),
        properties=dict(message.properties),
    )


def encode_model_metadata(metadata: ModelMetadata) -> bytes:
    """A `ModelMetadataResponse`."""
    return pb.ModelMetadataResponse(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=_encode_tensor_metadata(metadata.inputs),
        outputs=_encode_tensor_metadata(metadata.outputs),
        properties=metadata.properties,
    ).SerializeToString()


def decode_server_metadata(data: bytes) -> ServerMetadata:
    """What a `ServerMetadataResponse` says. Raises `MalformedTensorError`."""
    message = _parse(pb.ServerMetadataResponse, data)
    return ServerMetadata(name=message.name, version=message.version, extensions=tuple(message.extensions))


def encode_server_metadata(metadata: ServerMetadata) -> bytes:
    """A `ServerMetadataResponse`."""
    return pb.ServerMetadataResponse(
        name=metadata.name, version=metadata.version, extensions=metadata.extensions
    ).SerializeToString()


def _parse(kind: type[_M], data: bytes) -> _M:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedTensorError(f"the bytes are not a {kind.DESCRIPTOR.name}: {error}") from None


def _decode_response(message: pb.ModelInferResponse) -> InferResponse:
    return InferResponse(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        outputs=_decode_tensors(message.outputs, message.raw_output_contents, "outputs"),
        parameters=_decode_parameters(message.parameters),
    )


def _encode_response(response: InferResponse, raw: bool | None) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        parameters=_encode_parameters(response.parameters, ""),
    )
    is_raw = _is_raw(response.outputs, raw)
    for index, tensor in enumerate(response.outputs):
        _encode_tensor(tensor, message.outputs.add(), f"outputs[{index}]", is_raw)
    if is_raw:
        message.raw_output_contents.extend(_raw_contents(response.outputs, "outputs"))
    return message


def _decode_tensors(messages: Sequence[_MessageTensor], raw: Sequence[bytes], field: str) -> tuple[Tensor, ...]:
    if raw and len(raw) != len(messages):
        raise MalformedTensorError(
            f"there are {len(raw)} raw contents for {len(messages)} {field}", f"raw_{field[:-1]}_contents"
        )
    tensors: dict[str, Tensor] = {}
    for index, message in enumerate(messages):
        if message.name in tensors:
            raise MalformedTensorError("the name occurs twice", f"{field}[{index}].name")
        tensors[message.name] = _decode_tensor(message, raw[index] if raw else None, f"{field}[{index}]")
    return tuple(tensors.values())


def _decode_tensor(message: _MessageTensor, raw: bytes | None, place: str) -> Tensor:
    datatype, shape = datatype_of(message.datatype, f"{place}.datatype"), tuple(message.shape)
    data: TensorData
    if raw is None:
        data = _typed_contents(message.contents, datatype, f"{place}.contents")
        check_elements(data, datatype, shape, place)
    elif message.contents.ListFields():
        raise MalformedTensorError("contents are given both here and raw", f"{place}.contents")
    else:
        data = raw
        check_raw(data, datatype, shape, place)
    return Tensor(
        name=message.name, datatype=datatype, shape=shape, data=data, parameters=_decode_parameters(message.parameters)
    )


def _typed_contents(contents: pb.InferTensorContents, datatype: Datatype, place: str) -> tuple[Any, ...]:
    wanted = _CONTENTS.get(datatype)
    if wanted is None:
        raise MalformedTensorError(f"{datatype.value} has raw contents only", place)
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise MalformedTensorError(f"{datatype.value} is in {wanted}, not in {field.name}", place)
    return tuple(getattr(contents, wanted))


def _is_raw(tensors: Iterable[Tensor], raw: bool | None) -> bool:
    if any(tensor.datatype not in _CONTENTS for tensor in tensors):
        return True
    return any(tensor.is_raw for tensor in tensors) if raw is None else raw


def _raw_contents(tensors: Iterable[Tensor], field: str) -> Iterable[bytes]:
    return (raw_of(tensor, f"{field}[{index}]") for index, tensor in enumerate(tensors))


def _encode_tensor(tensor: Tensor, message: _MessageTensor, place: str, is_raw: bool) -> None:
    message.name = tensor.name
    message.datatype = tensor.datatype.value
    message.shape.extend(tensor.shape)
    for name, parameter in _encode_parameters(tensor.parameters, place).items():
        message.parameters[name].CopyFrom(parameter)
    if not is_raw:
        elements: Any = elements_of(tensor, place)
        getattr(message.contents, _CONTENTS[tensor.datatype]).extend(elements)


def _decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    chosen = ((name, parameter, parameter.WhichOneof("parameter_choice")) for name, parameter in parameters.items())
    return {name: getattr(parameter, choice) for name, parameter, choice in chosen if choice is not None}


def _encode_parameters(parameters: Mapping[str, Any], place: str) -> dict[str, pb.InferParameter]:
    prefix = f"{place}.parameters" if place else "parameters"
    return {
        name: _encode_parameter(value, f"{prefix}.{name}") for name, value in parameters.items() if value is not None
    }


def _encode_parameter(value: object, place: str) -> pb.InferParameter:
    match value:
        case bool():
            return pb.InferParameter(bool_param=value)
        case int() if -(2**63) <= value < 2**63:
            return pb.InferParameter(int64_param=value)
        case int() if 2**63 <= value < 2**64:
            return pb.InferParameter(uint64_param=value)
        case float():
            return pb.InferParameter(double_param=value)
        case str():
            return pb.InferParameter(string_param=value)
        case int():
            raise MalformedTensorError("the number has more than 64 bits", place)
        case _:
            raise MalformedTensorError("gRPC carries only strings, numbers, true and false here", place)


def _decode_tensor_metadata(
    messages: Iterable[pb.ModelMetadataResponse.TensorMetadata],
) -> tuple[TensorMetadata, ...]:
    return tuple(
        TensorMetadata(name=message.name, datatype=message.datatype, shape=tuple(message.shape)) for message in messages
    )


def _encode_tensor_metadata(
    tensors: Iterable[TensorMetadata],
) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in tensors
    ]
