"""Tensor data: raw bytes and elements are two forms of the same, and what does not fit datatype or shape is told."""

import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given

from gateway.schemas.open_inference.dialect import Datatype, MalformedTensorError, Tensor
from gateway.schemas.open_inference.tensor import (
    check_elements,
    check_raw,
    datatype_of,
    element_count,
    elements_of,
    flatten,
    raw_of,
)
from tests.gateway.schemas.open_inference_strategies import typed_tensors


def tensor(datatype: str, data: Any) -> Tensor:
    return Tensor(name="x", datatype=Datatype(datatype), shape=(len(data),), data=data)


@given(typed_tensors())
def test_elements_survive_the_way_over_raw_bytes(written: Tensor) -> None:
    raw = raw_of(written, "inputs[0]")
    check_raw(raw, written.datatype, written.shape, "inputs[0]")
    read = elements_of(Tensor(name="x", datatype=written.datatype, shape=written.shape, data=raw), "inputs[0]")
    assert read == written.data
    assert list(map(type, read)) == list(map(type, written.data))


@pytest.mark.parametrize(
    ("datatype", "data", "raw"),
    [
        ("BOOL", (True, False), "0100"),
        ("UINT8", (255,), "ff"),
        ("UINT16", (1,), "0100"),
        ("UINT32", (1, 2), "0100000002000000"),
        ("UINT64", (2**64 - 1,), "ff" * 8),
        ("INT8", (-1,), "ff"),
        ("INT16", (-2,), "feff"),
        ("INT32", (-2,), "feffffff"),
        ("INT64", (-2,), "feffffffffffffff"),
        ("FP16", (1.0,), "003c"),
        ("FP32", (1.0,), "0000803f"),
        ("FP64", (1.0,), "000000000000f03f"),
        ("BYTES", (b"ab", b""), "02000000616200000000"),
    ],
)
def test_raw_form_is_little_endian(datatype: str, data: Any, raw: str) -> None:
    assert raw_of(tensor(datatype, data), "").hex() == raw
    assert elements_of(tensor(datatype, bytes.fromhex(raw)), "") == data


@pytest.mark.parametrize("datatype", [each for each in Datatype if each.size is not None])
@pytest.mark.parametrize("size", [0, 1, 15, 17, 1000])
def test_raw_bytes_of_another_size(datatype: Datatype, size: int) -> None:
    shape = (2, 10)
    with pytest.raises(
        MalformedTensorError, match=rf"inputs\[0\].data: shape \[2, 10\] of {datatype.value} needs"
    ) as e:
        check_raw(bytes(size), datatype, shape, "inputs[0]")
    assert e.value.param == "inputs[0].data"


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"\x01", "x.data[0]"),
        (b"\x01\0\0", "x.data[0]"),
        (b"\x01\0\0\0", "x.data[0]"),
        (b"\x01\0\0\0ab", "x.data[1]"),
        (b"\0\0\0\0\xff\xff\xff\xffabc", "x.data[1]"),
    ],
)
def test_raw_elements_that_are_cut_short(raw: bytes, place: str) -> None:
    with pytest.raises(MalformedTensorError, match="end within an element") as caught:
        check_raw(raw, Datatype.BYTES, (2,), "x")
    assert caught.value.param == place


def test_too_many_raw_elements() -> None:
    with pytest.raises(MalformedTensorError, match=r"x.data: shape \[1\] needs 1 elements, there are 2"):
        check_raw(bytes(8), Datatype.BYTES, (1,), "x")


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("UINT8", 256),
        ("UINT8", -1),
        ("UINT16", 2**16),
        ("UINT32", 2**32),
        ("UINT64", 2**64),
        ("UINT64", -1),
        ("INT8", 128),
        ("INT8", -129),
        ("INT16", 2**15),
        ("INT32", -(2**31) - 1),
        ("INT64", 2**63),
        ("FP16", 65520.0),
        ("FP32", 3.41e38),
        ("FP32", -1e300),
    ],
)
def test_number_that_the_datatype_does_not_have(datatype: str, value: float) -> None:
    with pytest.raises(MalformedTensorError, match=rf"is not in the range of {datatype}") as caught:
        check_elements((0, value), Datatype(datatype), (2,), "inputs[3]")
    assert caught.value.param == "inputs[3].data[1]"
    with pytest.raises(MalformedTensorError, match=f"is not {datatype}"):
        raw_of(tensor(datatype, (0, value)), "")


@pytest.mark.parametrize(
    ("datatype", "value", "greatest"), [("FP32", 3.4028235e38, "ffff7f7f"), ("FP16", 65519.0, "ff7b")]
)
def test_number_that_is_rounded_to_the_greatest_of_the_datatype(datatype: str, value: float, greatest: str) -> None:
    check_elements((value,), Datatype(datatype), (1,), "x")
    assert raw_of(tensor(datatype, (value,)), "").hex() == greatest


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_floats_that_are_no_numbers_are_data_like_others(datatype: str, value: float) -> None:
    check_elements((1.0, value), Datatype(datatype), (2,), "x")
    raw = raw_of(tensor(datatype, (1.0, value)), "")
    read = elements_of(Tensor(name="x", datatype=Datatype(datatype), shape=(2,), data=raw), "")[1]
    assert str(read) == str(value)


def test_elements_of_another_number() -> None:
    with pytest.raises(MalformedTensorError, match=r"^inputs\[0\].data: shape \[2, 3\] needs 6 elements, there are 5$"):
        check_elements((1, 2, 3, 4, 5), Datatype.INT8, (2, 3), "inputs[0]")


@pytest.mark.parametrize(
    ("shape", "count"),
    [((), 1), ((0,), 0), ((2, 3), 6), ((10**9, 10**9), 10**18), ((2**63 - 1,) * 3, (2**63 - 1) ** 3)],
)
def test_element_count(shape: tuple[int, ...], count: int) -> None:
    assert element_count(shape, "") == count


@pytest.mark.parametrize("shape", [(-1,), (2, -3), (2**63,), (1,) * 65])
def test_lengths_that_no_tensor_has(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedTensorError) as caught:
        element_count(shape, "inputs[0].shape")
    assert caught.value.param == "inputs[0].shape"


def test_great_shape_costs_no_memory() -> None:
    tracemalloc.start()
    try:
        for datatype in Datatype:
            with pytest.raises(MalformedTensorError):
                check_raw(b"", datatype, (10**9, 10**9), "x")
        with pytest.raises(MalformedTensorError):
            check_elements((), Datatype.FP32, (10**9, 10**9), "x")
        with pytest.raises(MalformedTensorError):
            flatten([[]], (10**9, 10**9), "x")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "shape", "flat"),
    [
        ([1, 2, 3, 4], (2, 2), [1, 2, 3, 4]),
        ([[1, 2], [3, 4]], (2, 2), [1, 2, 3, 4]),
        ([[[1], [2]], [[3], [4]]], (2, 2, 1), [1, 2, 3, 4]),
        ([], (0, 3), []),
        ([[], []], (2, 0), []),
        ([7], (), [7]),
    ],
)
def test_nested_arrays(data: list[Any], shape: tuple[int, ...], flat: list[Any]) -> None:
    assert list(flatten(data, shape, "")) == flat


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([[1, 2], [3]], (2, 2)),
        ([[1, 2], 3, 4], (2, 2)),
        ([[1, 2, 3, 4]], (2, 2)),
        ([[1], [2], [3], [4]], (2, 2)),
        ([[1, 2], [3, 4]], (4,)),
        ([[1, 2], [3, 4]], (2, 2, 1)),
        ([[[1, 2]], [[3, 4]]], (2, 2, 1)),
    ],
)
def test_arrays_nested_otherwise_than_the_shape(data: list[Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedTensorError, match=r"x: the arrays are not nested as shape"):
        flatten(data, shape, "x")


def test_bf16_has_no_elements() -> None:
    with pytest.raises(MalformedTensorError, match=r"x.data: BF16 exists as raw bytes only"):
        elements_of(tensor("BF16", b"\0\0"), "x")
    with pytest.raises(MalformedTensorError, match="BF16"):
        raw_of(tensor("BF16", (1.0,)), "x")


def test_byte_that_is_no_bool() -> None:
    with pytest.raises(MalformedTensorError, match="neither 0 nor 1"):
        elements_of(tensor("BOOL", b"\0\1\2"), "x")


def test_unknown_datatype() -> None:
    with pytest.raises(MalformedTensorError, match=r"^inputs\[0\].datatype: 'FP33' is not a datatype; known: BOOL, "):
        datatype_of("FP33", "inputs[0].datatype")
    with pytest.raises(MalformedTensorError) as caught:
        datatype_of("x" * 10**6, "")
    assert len(str(caught.value)) < 300
