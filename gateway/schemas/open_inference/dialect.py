"""The Open Inference Protocol (KServe V2) as values that its REST and gRPC forms share. What the bytes look like is in
`open_inference_rest` and `open_inference_grpc`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from gateway.schemas.json_fields import FieldError

Elements: TypeAlias = tuple[float | bytes, ...]
"""The elements of a tensor in row-major order: all `bool`, all `int`, all `float`, or all `bytes`."""

TensorData: TypeAlias = bytes | Elements
"""Raw bytes (little-endian, no padding; of BYTES each element behind its length in four bytes), or elements."""

Parameters: TypeAlias = Mapping[str, Any]
"""Free parameters: `bool`, `int`, `float` or `str`. REST servers also have others, which only REST can carry."""


class MalformedTensorError(FieldError):
    """Bytes that are not of this protocol, or a tensor that the other form cannot carry."""


class Datatype(Enum):
    """Types of elements. BF16 is Triton's and exists as raw bytes only."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def size(self) -> int | None:
        """Bytes of one element; None where elements differ in length."""
        return _SIZES[self]


_SIZES = {
    Datatype.BOOL: 1,
    Datatype.UINT8: 1,
    Datatype.UINT16: 2,
    Datatype.UINT32: 4,
    Datatype.UINT64: 8,
    Datatype.INT8: 1,
    Datatype.INT16: 2,
    Datatype.INT32: 4,
    Datatype.INT64: 8,
    Datatype.FP16: 2,
    Datatype.BF16: 2,
    Datatype.FP32: 4,
    Datatype.FP64: 8,
    Datatype.BYTES: None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output. `data` stays in the form it came in; `extra` has the JSON fields that are not known here."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: TensorData
    parameters: Parameters = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_raw(self) -> bool:
        """Whether the data are raw bytes."""
        return isinstance(self.data, bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedOutput:
    """An output that is wanted back. `binary`: as bytes behind the JSON (REST only); None: as the request says."""

    name: str
    binary: bool | None = None
    parameters: Parameters = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One run of a model. Empty `version`: the server chooses; empty `id`: none; no `outputs`: all of them.

    `binary_outputs`: a REST caller wants outputs as bytes behind the JSON, where an output does not say otherwise.
    """

    model: str
    version: str = ""
    id: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[RequestedOutput, ...] = ()
    binary_outputs: bool = False
    parameters: Parameters = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_raw(self) -> bool:
        """Whether any input came as raw bytes: gRPC clients who send them read nothing else."""
        return any(tensor.is_raw for tensor in self.inputs)

    def wants_binary(self, output: str) -> bool:
        """Whether the caller wants this output as bytes behind the JSON."""
        for wanted in self.outputs:
            if wanted.name == output and wanted.binary is not None:
                return wanted.binary
        return self.binary_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class InferResponse:
    """The answer of a model."""

    model: str = ""
    version: str = ""
    id: str = ""
    outputs: tuple[Tensor, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamError:
    """What a stream says instead of an answer; the stream goes on. `id` is that of the request, if it is told."""

    message: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMetadata:
    """A tensor that a model takes or gives; -1 in `shape` is any length. `datatype` is as the server writes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetadata:
    """What a server is; `extensions` are the names of what it can do beyond the protocol."""

    name: str
    version: str = ""
    extensions: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
