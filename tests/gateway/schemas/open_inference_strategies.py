"""Requests, answers and tensors of the Open Inference Protocol for property tests."""

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from gateway.schemas.open_inference.dialect import (
    Datatype,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    ServerMetadata,
    Tensor,
    TensorMetadata,
)
from gateway.schemas.open_inference.tensor import raw_of

TYPED = [each for each in Datatype if each is not Datatype.BF16]
"""Those whose elements have a form of their own."""

# No name that Triton's extension gives a meaning to, which would be a wish and not a parameter.
names = st.text(max_size=5)
parameter_names = names.filter(lambda name: not name.startswith("binary_data"))
parameters = st.dictionaries(
    parameter_names,
    st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    max_size=3,
)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)

ELEMENTS: dict[Datatype, st.SearchStrategy[Any]] = {
    Datatype.BOOL: st.booleans(),
    Datatype.UINT8: st.integers(0, 2**8 - 1),
    Datatype.UINT16: st.integers(0, 2**16 - 1),
    Datatype.UINT32: st.integers(0, 2**32 - 1),
    Datatype.UINT64: st.integers(0, 2**64 - 1),
    Datatype.INT8: st.integers(-(2**7), 2**7 - 1),
    Datatype.INT16: st.integers(-(2**15), 2**15 - 1),
    Datatype.INT32: st.integers(-(2**31), 2**31 - 1),
    Datatype.INT64: st.integers(-(2**63), 2**63 - 1),
    Datatype.FP16: st.floats(width=16, allow_nan=False, allow_infinity=False),
    Datatype.FP32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Datatype.FP64: st.floats(allow_nan=False, allow_infinity=False),
    Datatype.BYTES: st.text(max_size=4).map(str.encode),
}
"""Elements that every form can carry."""


@st.composite
def typed_tensors(draw: st.DrawFn) -> Tensor:
    """A tensor with elements."""
    datatype, shape = draw(st.sampled_from(TYPED)), draw(shapes)
    count = 1
    for length in shape:
        count *= length
    elements = draw(st.lists(ELEMENTS[datatype], min_size=count, max_size=count))
    return Tensor(name=draw(names), datatype=datatype, shape=shape, data=tuple(elements), parameters=draw(parameters))


@st.composite
def raw_tensors(draw: st.DrawFn) -> Tensor:
    """A tensor with raw bytes, which may be NaN or no UTF-8."""
    datatype = draw(st.sampled_from(list(Datatype)))
    if datatype.size is None:
        elements = draw(st.lists(st.binary(max_size=4), max_size=5))
        data, count = b"".join(struct.pack("<I", len(each)) + each for each in elements), len(elements)
    elif datatype is Datatype.BOOL:
        data = bytes(draw(st.lists(st.sampled_from([0, 1]), max_size=5)))
        count = len(data)
    else:
        count = draw(st.integers(0, 5))
        data = draw(st.binary(min_size=count * datatype.size, max_size=count * datatype.size))
    return Tensor(name=draw(names), datatype=datatype, shape=(count, 1), data=data, parameters=draw(parameters))


def requests(tensors: st.SearchStrategy[Tensor]) -> st.SearchStrategy[InferRequest]:
    """Requests of such tensors."""
    return st.builds(
        InferRequest,
        model=names,
        version=names,
        id=names,
        inputs=_some(tensors),
        outputs=_some(st.builds(RequestedOutput, name=names, parameters=parameters, binary=st.none())),
        parameters=parameters,
    )


def responses(tensors: st.SearchStrategy[Tensor]) -> st.SearchStrategy[InferResponse]:
    """Answers of such tensors."""
    return st.builds(InferResponse, model=names, version=names, id=names, outputs=_some(tensors), parameters=parameters)


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    by_name: Callable[[Any], str] = lambda value: str(value.name)  # noqa: E731
    return st.lists(values, max_size=3, unique_by=by_name).map(tuple)


def raw_forms(tensors: tuple[Tensor, ...]) -> list[bytes]:
    """The bytes of each tensor, in which all forms of the same data are equal, also NaN and minus zero."""
    return [raw_of(tensor, "tensor") for tensor in tensors]


_metadata_shapes = st.lists(st.integers(-1, 2**63 - 1), max_size=3).map(tuple)
_tensor_metadata = st.lists(
    st.builds(TensorMetadata, name=names, datatype=names, shape=_metadata_shapes), max_size=3
).map(tuple)
_texts = st.lists(names, max_size=3).map(tuple)

model_metadata = st.builds(
    ModelMetadata,
    name=names,
    versions=_texts,
    platform=names,
    inputs=_tensor_metadata,
    outputs=_tensor_metadata,
    properties=st.dictionaries(names, names, max_size=3),
)
server_metadata = st.builds(ServerMetadata, name=names, version=names, extensions=_texts)
