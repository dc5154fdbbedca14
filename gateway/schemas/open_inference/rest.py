"""The Open Inference Protocol over REST: inference requests and answers, with Triton's binary data behind the JSON.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and Triton's
"Binary Tensor Data Extension". What JSON cannot say is refused, never changed: NaN, infinity, BF16, and BYTES that are
not UTF-8 travel as binary data only. FP16 is written as numbers, as MLServer does and Triton does not.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.schemas.json_fields import Fields
from gateway.schemas.open_inference.dialect import (
    Datatype,
    Elements,
    InferRequest,
    InferResponse,
    MalformedTensorError,
    RequestedOutput,
    Tensor,
    TensorData,
)
from gateway.schemas.open_inference.tensor import (
    check_elements,
    check_raw,
    datatype_of,
    element_count,
    elements_of,
    flatten,
    raw_of,
)
from gateway.schemas.openai.fields import UNREADABLE

HEADER_LENGTH = "inference-header-content-length"
"""The HTTP header with the length of the JSON, where binary data stand behind it."""

_MAX_LENGTH_DIGITS = 12

_ELEMENT_TYPES: Mapping[Datatype, Any] = {
    Datatype.BOOL: list[bool],
    Datatype.FP16: list[float],
    Datatype.FP32: list[float],
    Datatype.FP64: list[float],
    Datatype.BYTES: list[str],
}
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True, kw_only=True)
class RestBody:
    """An HTTP body. `header_length` goes into the header `HEADER_LENGTH`; None: the body is all JSON."""

    body: bytes
    header_length: int | None = None

    @property
    def content_type(self) -> str:
        """The value of the header of that name."""
        return "application/json" if self.header_length is None else "application/octet-stream"


class _BinaryData:
    """The bytes behind the JSON, handed out in the order of the tensors."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, place: str) -> bytes:
        if self._data is None:
            raise MalformedTensorError(f"there are no binary data without the header {HEADER_LENGTH}", place)
        if size < 0 or size > len(self._data) - self._at:
            raise MalformedTensorError(f"{size} bytes are asked for, {len(self._data) - self._at} are there", place)
        self._at += size
        return self._data[self._at - size : self._at]

    def check_all_taken(self) -> None:
        if self._data is not None and self._at != len(self._data):
            raise MalformedTensorError(f"{len(self._data) - self._at} bytes of binary data belong to no tensor")


def decode_request(body: bytes, header_length: int | None, *, model: str, version: str = "") -> InferRequest:
    """The request in a body; model and version are those of the path. Raises `MalformedTensorError`."""
    fields, binary = _split(body, header_length)
    parameters = fields.object("parameters")
    request = InferRequest(
        model=model,
        version=version,
        id=fields.text("id", ""),
        inputs=_tensors(fields, "inputs", binary),
        outputs=tuple(_requested_output(each) for each in fields.objects("outputs", required=False)),
        binary_outputs=bool(parameters.truth("binary_data_output")),
        parameters=parameters.extra,
        extra=fields.extra,
    )
    binary.check_all_taken()
    return request


def decode_response(body: bytes, header_length: int | None) -> InferResponse:
    """The answer in a body. Raises `MalformedTensorError`."""
    fields, binary = _split(body, header_length)
    response = InferResponse(
        model=fields.text("model_name", ""),
        version=fields.text("model_version", ""),
        id=fields.text("id", ""),
        outputs=_tensors(fields, "outputs", binary),
        parameters=fields.object("parameters").extra,
        extra=fields.extra,
    )
    binary.check_all_taken()
    return response


def _split(body: bytes, header_length: int | None) -> tuple[Fields, _BinaryData]:
    end = _end_of_json(body, header_length)
    return Fields.parse(body[:end], MalformedTensorError), _BinaryData(None if header_length is None else body[end:])


def _end_of_json(body: bytes, header_length: int | None) -> int:
    if header_length is None:
        return len(body)
    if header_length == 0:
        raise MalformedTensorError("binary data without JSON before them do not tell what they are")
    if not 0 < header_length <= len(body):
        raise MalformedTensorError(f"{HEADER_LENGTH} is {header_length}, but the body has {len(body)} bytes")
    return header_length


def _requested_output(fields: Fields) -> RequestedOutput:
    parameters = fields.object("parameters")
    binary = parameters.truth("binary_data")
    return RequestedOutput(name=fields.text("name"), binary=binary, parameters=parameters.extra, extra=fields.extra)


def _tensors(fields: Fields, name: str, binary: _BinaryData) -> tuple[Tensor, ...]:
    tensors: dict[str, Tensor] = {}
    for each in fields.objects(name, required=True):
        tensor = _tensor(each, binary)
        if tensor.name in tensors:
            raise MalformedTensorError("the name occurs twice", each.place_of("name"))
        tensors[tensor.name] = tensor
    return tuple(tensors.values())


def _tensor(fields: Fields, binary: _BinaryData) -> Tensor:
    name, shape = fields.text("name"), fields.integers("shape")
    datatype = datatype_of(fields.text("datatype"), fields.place_of("datatype"))
    parameters = fields.object("parameters")
    size = parameters.integer("binary_data_size")
    data: TensorData
    if size is None:
        data = _elements(fields, datatype, shape)
    elif fields.has("data"):
        raise MalformedTensorError("data are given both here and as binary data", fields.place_of("data"))
    else:
        data = binary.take(size, parameters.place_of("binary_data_size"))
        check_raw(data, datatype, shape, fields.place)
    return Tensor(name=name, datatype=datatype, shape=shape, data=data, parameters=parameters.extra, extra=fields.extra)


def _elements(fields: Fields, datatype: Datatype, shape: Sequence[int]) -> Elements:
    place = fields.place_of("data")
    if datatype is Datatype.BF16:
        raise MalformedTensorError("BF16 has no form in JSON; send binary data", place)
    element_count(shape, fields.place_of("shape"))
    flat = flatten(fields.array("data"), shape, place)
    try:
        typed = msgspec.convert(flat, _ELEMENT_TYPES.get(datatype, list[int]))
    except msgspec.ValidationError as error:
        raise MalformedTensorError(f"not all elements are {datatype.value}: {error}", place) from None
    check_elements(typed, datatype, shape, fields.place)
    return tuple(text.encode() for text in typed) if datatype is Datatype.BYTES else tuple(typed)


def encode_request(request: InferRequest, *, binary: bool) -> RestBody:
    """The body for a server. `binary`: tensors go as binary data and are asked for so, which not all servers can."""
    data: list[bytes] = []
    outputs = [
        {
            "name": each.name,
            **_without_empty(parameters=_parameters(each.parameters, f"outputs[{index}]")),
            **each.extra,
        }
        for index, each in enumerate(request.outputs)
    ]
    parameters = _parameters(request.parameters, "") | ({"binary_data_output": True} if binary else {})
    header = _without_empty(id=request.id, parameters=parameters)
    header["inputs"] = [
        _tensor_fields(tensor, f"inputs[{index}]", data if binary else None)
        for index, tensor in enumerate(request.inputs)
    ]
    return _joined({**header, **_without_empty(outputs=outputs), **request.extra}, data if binary else None)


def encode_response(response: InferResponse, request: InferRequest | None = None) -> RestBody:
    """The body for a caller, with binary data for those outputs of which `request` wants it so."""
    data: list[bytes] = []
    header = {"model_name": response.model} | _without_empty(
        model_version=response.version, id=response.id, parameters=_parameters(response.parameters, "")
    )
    wanted = [request is not None and request.wants_binary(tensor.name) for tensor in response.outputs]
    header["outputs"] = [
        _tensor_fields(tensor, f"outputs[{index}]", data if binary else None)
        for index, (tensor, binary) in enumerate(zip(response.outputs, wanted, strict=True))
    ]
    return _joined({**header, **response.extra}, data if any(wanted) else None)


def check_request(body: bytes, header_length: int | None) -> None:
    """Raises `MalformedTensorError` unless the JSON is an object and has the length that is told; what is in it is not
    looked at. A header length of 0 means that there is no JSON at all, which only a server that knows the model can
    understand."""
    if header_length != 0:
        _raw_fields(body, header_length)


def with_model(body: bytes, header_length: int | None, model: str) -> RestBody:
    """An answer with another `model_name`, all else as it is. Raises `MalformedTensorError` for what is no object."""
    fields = _raw_fields(body, header_length)
    fields["model_name"] = msgspec.Raw(msgspec.json.encode(model))
    header = msgspec.json.encode(fields)
    if header_length is None:
        return RestBody(body=header)
    return RestBody(body=header + body[header_length:], header_length=len(header))


def _raw_fields(body: bytes, header_length: int | None) -> dict[str, msgspec.Raw]:
    try:
        return _raw_decoder.decode(body[: _end_of_json(body, header_length)])
    except UNREADABLE as error:
        raise MalformedTensorError(f"the body is not a JSON object: {error}") from None


def read_header_length(value: bytes | None) -> int | None:
    """The header `HEADER_LENGTH`, which need not be there. Raises `MalformedTensorError` unless it is a number."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise MalformedTensorError(f"the header {HEADER_LENGTH} must be a whole number")
    return int(value)


def _joined(header: Mapping[str, Any], data: list[bytes] | None) -> RestBody:
    encoded = msgspec.json.encode(header)
    if data is None:
        return RestBody(body=encoded)
    return RestBody(body=b"".join((encoded, *data)), header_length=len(encoded))


def _tensor_fields(tensor: Tensor, place: str, binary: list[bytes] | None) -> dict[str, Any]:
    """The JSON of a tensor; its data are added to `binary` if that is given."""
    parameters = _parameters(tensor.parameters, place)
    data: dict[str, Any] = {}
    if binary is None:
        data["data"] = _json_elements(tensor, place)
    else:
        binary.append(raw_of(tensor, place))
        parameters |= {"binary_data_size": len(binary[-1])}
    fields = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype.value}
    return {**fields, **_without_empty(parameters=parameters), **data, **tensor.extra}


def _json_elements(tensor: Tensor, place: str) -> Sequence[Any]:
    elements: Sequence[Any] = elements_of(tensor, place)
    match tensor.datatype:
        case Datatype.BYTES:
            is_base64 = tensor.parameters.get("content_type") == "base64"
            return [_text(item, is_base64, f"{place}.data[{index}]") for index, item in enumerate(elements)]
        case Datatype.FP16 | Datatype.FP32 | Datatype.FP64 if not all(map(math.isfinite, elements)):
            raise MalformedTensorError("JSON has no NaN and no infinity; use binary data or gRPC", f"{place}.data")
        case _:
            return elements


def _text(element: Any, is_base64: bool, place: str) -> str:
    """An element of BYTES. MLServer reads texts of a tensor with `content_type` base64 as that, and writes them so."""
    try:
        return str(element, "utf-8")
    except UnicodeDecodeError:
        if is_base64:
            return base64.b64encode(element).decode()
        raise MalformedTensorError("JSON has only UTF-8; use binary data or gRPC for other bytes", place) from None


def _parameters(parameters: Mapping[str, Any], place: str) -> dict[str, Any]:
    for name, value in parameters.items():
        if isinstance(value, float) and not math.isfinite(value):
            prefix = f"{place}." if place else ""
            raise MalformedTensorError("JSON has no NaN and no infinity", f"{prefix}parameters.{name}")
    return dict(parameters)


def _without_empty(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
