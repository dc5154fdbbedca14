"""The data of a tensor: whether they agree with datatype and shape, and the way from raw bytes to elements and back."""

import math
import struct
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from gateway.schemas.open_inference.dialect import Datatype, Elements, MalformedTensorError, Tensor

_MAX_DIMENSIONS = 64
"""As many as NumPy has; more are an attack on whoever multiplies them."""
_MAX_DIMENSION = 2**63 - 1
_LENGTH_BYTES = 4
_SHOWN = 40

_STRUCT_CODES = {
    Datatype.BOOL: "?",
    Datatype.UINT8: "B",
    Datatype.UINT16: "H",
    Datatype.UINT32: "I",
    Datatype.UINT64: "Q",
    Datatype.INT8: "b",
    Datatype.INT16: "h",
    Datatype.INT32: "i",
    Datatype.INT64: "q",
    Datatype.FP16: "e",
    Datatype.FP32: "f",
    Datatype.FP64: "d",
}

_INTEGER_RANGES = {
    Datatype.UINT8: (0, 2**8 - 1),
    Datatype.UINT16: (0, 2**16 - 1),
    Datatype.UINT32: (0, 2**32 - 1),
    Datatype.UINT64: (0, 2**64 - 1),
    Datatype.INT8: (-(2**7), 2**7 - 1),
    Datatype.INT16: (-(2**15), 2**15 - 1),
    Datatype.INT32: (-(2**31), 2**31 - 1),
    Datatype.INT64: (-(2**63), 2**63 - 1),
}

# Numbers from here on are rounded to infinity, which is half a step above the greatest number of the type.
_ROUNDED_TO_INFINITY = {Datatype.FP16: 65520.0, Datatype.FP32: float(2**128 - 2**103)}


def datatype_of(name: str, place: str) -> Datatype:
    """The datatype of this name. Raises `MalformedTensorError` if there is none."""
    try:
        return Datatype(name)
    except ValueError:
        known = ", ".join(datatype.value for datatype in Datatype)
        raise MalformedTensorError(f"{name[:_SHOWN]!r} is not a datatype; known: {known}", place) from None


def element_count(shape: Sequence[int], place: str) -> int:
    """How many elements a shape has. Raises `MalformedTensorError` for lengths that no tensor can have."""
    if len(shape) > _MAX_DIMENSIONS:
        raise MalformedTensorError(f"{len(shape)} dimensions are more than {_MAX_DIMENSIONS}", place)
    for length in shape:
        if length < 0:
            raise MalformedTensorError(f"a dimension cannot have the length {length}", place)
        if length > _MAX_DIMENSION:
            raise MalformedTensorError(f"a dimension cannot be longer than {_MAX_DIMENSION}", place)
    return math.prod(shape)


def check_raw(raw: bytes, datatype: Datatype, shape: Sequence[int], place: str) -> None:
    """Raises `MalformedTensorError` unless the raw bytes are as many as datatype and shape need."""
    count = element_count(shape, f"{place}.shape")
    if datatype.size is None:
        _check_count(_split_bytes(raw, f"{place}.data"), count, shape, f"{place}.data")
    elif len(raw) != count * datatype.size:
        needed = f"shape {list(shape)} of {datatype.value} needs {count * datatype.size} bytes"
        raise MalformedTensorError(f"{needed}, there are {len(raw)}", f"{place}.data")


def check_elements(elements: Collection[float | bytes], datatype: Datatype, shape: Sequence[int], place: str) -> None:
    """Raises `MalformedTensorError` unless the elements are as many as the shape needs and fit the datatype.

    Their Python type is the caller's to check.
    """
    _check_count(elements, element_count(shape, f"{place}.shape"), shape, f"{place}.data")
    _check_range(elements, datatype, f"{place}.data")


def _check_count(elements: Collection[object], count: int, shape: Sequence[int], place: str) -> None:
    if len(elements) != count:
        raise MalformedTensorError(f"shape {list(shape)} needs {count} elements, there are {len(elements)}", place)


def _check_range(elements: Collection[Any], datatype: Datatype, place: str) -> None:
    if not elements:
        return
    if datatype in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[datatype]
        # The bounds of all first: that is one pass at the speed of C, and hardly ever more is needed.
        if min(elements) < low or max(elements) > high:
            index, value = next((i, value) for i, value in enumerate(elements) if not low <= value <= high)
            raise MalformedTensorError(f"{value} is not in the range of {datatype.value}", f"{place}[{index}]")
    elif datatype in _ROUNDED_TO_INFINITY:
        limit = _ROUNDED_TO_INFINITY[datatype]
        if min(elements) <= -limit or max(elements) >= limit:
            _check_finite_range(elements, limit, datatype, place)


def _check_finite_range(elements: Collection[float], limit: float, datatype: Datatype, place: str) -> None:
    for index, value in enumerate(elements):
        if math.isfinite(value) and abs(value) >= limit:
            raise MalformedTensorError(f"{value} is not in the range of {datatype.value}", f"{place}[{index}]")


def flatten(data: Sequence[Any], shape: Sequence[int], place: str) -> Sequence[Any]:
    """The elements of a JSON array that is flat already, or nested as its shape says; their types are not checked."""
    if not data or not isinstance(data[0], list):
        return data
    level: Sequence[Any] = [data]
    for length in shape:
        if not all(isinstance(item, list) and len(item) == length for item in level):
            raise MalformedTensorError(f"the arrays are not nested as shape {list(shape)} says", place)
        level = list(chain.from_iterable(level))
    return level


def raw_of(tensor: Tensor, place: str) -> bytes:
    """The data as raw bytes. Raises `MalformedTensorError` for elements that do not fit the datatype."""
    if isinstance(tensor.data, bytes):
        return tensor.data
    if tensor.datatype is Datatype.BYTES:
        return _join_bytes(tensor.data, f"{place}.data")
    code = _struct_code(tensor.datatype, place)
    try:
        return struct.pack(f"<{len(tensor.data)}{code}", *tensor.data)
    except (struct.error, OverflowError) as error:
        raise MalformedTensorError(f"an element is not {tensor.datatype.value}: {error}", f"{place}.data") from None


def elements_of(tensor: Tensor, place: str) -> Elements:
    """The data as elements. Raises `MalformedTensorError` for raw bytes that are not of the datatype, and for BF16."""
    if not isinstance(tensor.data, bytes):
        return tensor.data
    if tensor.datatype is Datatype.BYTES:
        return _split_bytes(tensor.data, f"{place}.data")
    code = _struct_code(tensor.datatype, place)
    if tensor.datatype is Datatype.BOOL and tensor.data.translate(None, b"\0\1"):
        raise MalformedTensorError("a byte of BOOL is neither 0 nor 1", f"{place}.data")
    try:
        return struct.unpack(f"<{len(tensor.data) // struct.calcsize(f'<{code}')}{code}", tensor.data)
    except struct.error as error:
        raise MalformedTensorError(str(error), f"{place}.data") from None


def _struct_code(datatype: Datatype, place: str) -> str:
    if datatype is Datatype.BF16:
        raise MalformedTensorError("BF16 exists as raw bytes only", f"{place}.data")
    return _STRUCT_CODES[datatype]


def _join_bytes(elements: Elements, place: str) -> bytes:
    parts: list[bytes] = []
    for index, element in enumerate(elements):
        if not isinstance(element, bytes):
            raise MalformedTensorError(f"{element!r} is not bytes", f"{place}[{index}]")
        parts += (len(element).to_bytes(_LENGTH_BYTES, "little"), element)
    return b"".join(parts)


def _split_bytes(raw: bytes, place: str) -> tuple[bytes, ...]:
    elements: list[bytes] = []
    at = 0
    while at < len(raw):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(raw[at:start], "little")
        if end > len(raw):
            raise MalformedTensorError("the raw bytes end within an element", f"{place}[{len(elements)}]")
        elements.append(raw[start:end])
        at = end
    return tuple(elements)
