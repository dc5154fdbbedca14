import math

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from janua.config.v1.policy_pb2 import ApiKeyAuth
from janua.config.v1.route_pb2 import Route
from janua.config.v1.service_pb2 import RetryOn
from janua.config.v1.upstream_pb2 import Endpoint, LoadBalancing, OutlierDetection
from janua_resources.field_values import (
    enum_prefix,
    format_enum,
    format_number,
    format_timestamp,
    parse_bool,
    parse_enum,
    parse_scalar,
    parse_timestamp,
)
from janua_resources.kinds import KINDS
from janua_resources.structure import CONFIG_SHAPES

from tests.clients.janua_resources.message_strategies import TIMESTAMPS

WEIGHT = Endpoint.DESCRIPTOR.fields_by_name["weight"]
PRIORITY = Route.DESCRIPTOR.fields_by_name["priority"]
PERCENT = OutlierDetection.DESCRIPTOR.fields_by_name["max_ejection_percent"]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (WEIGHT, "0", 0),
        (WEIGHT, "4294967295", 2**32 - 1),
        (PRIORITY, "-2147483648", -(2**31)),
        (Endpoint.DESCRIPTOR.fields_by_name["address"], "010", "010"),
        (Endpoint.DESCRIPTOR.fields_by_name["state"], "DRAINING", Endpoint.STATE_DRAINING),
        (ApiKeyAuth.DESCRIPTOR.fields_by_name["optional"], "true", True),
        (PERCENT, "20", 20.0),
        (PERCENT, "-0.5", -0.5),
        (PERCENT, "1e3", 1000.0),
        (PERCENT, "1.0e+20", 1e20),
    ],
)
def test_text_becomes_what_the_field_is(field: FieldDescriptor, text: str, value: object) -> None:
    assert parse_scalar(field, text) == value


@pytest.mark.parametrize(
    "text", ["", "1.0", "1e3", "0x10", "010", "1_000", "+1", " 1", "true", "one", "\u0661", "1\n", "9" * 21]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        parse_scalar(PRIORITY, text)


@pytest.mark.parametrize(
    ("field", "text"), [(WEIGHT, "-1"), (WEIGHT, "4294967296"), (PRIORITY, "2147483648"), (PRIORITY, "-2147483649")]
)
def test_numbers_out_of_range_are_refused(field: FieldDescriptor, text: str) -> None:
    with pytest.raises(ValueError, match="not in the range"):
        parse_scalar(field, text)


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "010", "1_000", "+1", " 1", "0x10", ".nan", "nan", "inf", "50%", "1:30", "\u0661", "1.5\n"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number; write it as in "):
        parse_scalar(PERCENT, text)


def test_a_number_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="'1e999' is too large"):
        parse_scalar(PERCENT, "1e999")
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="not a number that a file can say"):
            format_number(number)


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_that_are_written_read_back(number: float) -> None:
    assert parse_scalar(PERCENT, str(format_number(number))) == number


@pytest.mark.parametrize("number", [0, 20, 100, 10**14])
def test_whole_numbers_are_written_without_a_fraction(number: int) -> None:
    assert str(format_number(float(number))) == str(number)


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "True", "FALSE", "1", "0", "y", ""])
def test_only_true_and_false_are_booleans(text: str) -> None:
    assert parse_bool("false") is False
    with pytest.raises(ValueError, match="not true or false"):
        parse_bool(text)


def test_enum_values_have_long_and_short_names() -> None:
    policy = LoadBalancing.Policy.DESCRIPTOR
    assert enum_prefix(policy) == "POLICY_"
    assert enum_prefix(RetryOn.DESCRIPTOR) == "RETRY_ON_"
    assert parse_enum(policy, "LEAST_REQUEST") == LoadBalancing.POLICY_LEAST_REQUEST
    assert parse_enum(policy, "POLICY_LEAST_REQUEST") == LoadBalancing.POLICY_LEAST_REQUEST
    assert format_enum(policy, LoadBalancing.POLICY_LEAST_REQUEST) == "LEAST_REQUEST"
    assert format_enum(policy, 99) == 99


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("LEAST_REQ", "did you mean 'LEAST_REQUEST'"),
        ("least_request", "did you mean 'LEAST_REQUEST'"),
        ("2", "known are ROUND_ROBIN, LEAST_REQUEST"),
        ("POLICY_POLICY_LEAST_REQUEST", "unknown value"),
    ],
)
def test_unknown_enum_values_are_refused_with_the_known_ones(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_enum(LoadBalancing.Policy.DESCRIPTOR, text)


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("1970-01-01t00:00:01.5z", 1, 500_000_000),
        ("1970-01-01T01:00:00+01:00", 0, 0),
        ("1969-12-31T23:59:59.000000001Z", -1, 1),
        ("2027-01-01T00:00:00Z", 1_798_761_600, 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
    ],
)
def test_timestamps_are_read(text: str, seconds: int, nanos: int) -> None:
    assert parse_timestamp(text) == Timestamp(seconds=seconds, nanos=nanos)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2027-01-01", "write it as in 2027-01-01T00:00:00Z"),
        ("2027-01-01 00:00:00Z", "is not a time;"),
        ("2027-01-01T00:00:00", "is not a time;"),
        ("2027-1-1T00:00:00Z", "is not a time;"),
        ("2027-01-01T00:00:00.1234567891Z", "is not a time;"),
        ("1798761600", "is not a time;"),
        ("2027-02-30T00:00:00Z", "not a time that exists"),
        ("2027-01-01T24:00:01Z", "not a time that exists"),
        ("0000-01-01T00:00:00Z", "not a time that exists"),
        ("0001-01-01T00:00:00+01:00", "not a time that exists"),
        ("9999-12-31T23:59:59-01:00", "not a time that exists"),
        ("2027-01-01T00:00:00+25:00", "not a time that exists"),
    ],
)
def test_bad_timestamps_are_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_timestamp(text)


@settings(deadline=None)  # a busy machine is no failure
@given(TIMESTAMPS)
def test_timestamps_that_are_written_read_back(timestamp: Timestamp) -> None:
    assert parse_timestamp(format_timestamp(timestamp)) == timestamp


def test_timestamps_out_of_range_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_timestamp(Timestamp(seconds=2**60))


def test_every_type_of_field_in_the_configuration_can_be_read() -> None:
    readable = {
        FieldDescriptor.CPPTYPE_STRING,
        FieldDescriptor.CPPTYPE_BOOL,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_DOUBLE,
        FieldDescriptor.CPPTYPE_ENUM,
        FieldDescriptor.CPPTYPE_MESSAGE,
    }
    pool = KINDS[0].message.DESCRIPTOR.file.pool
    for name in CONFIG_SHAPES:
        message = pool.FindMessageTypeByName(name)
        for field in message.fields:
            assert field.cpp_type in readable, field.full_name
        if message.GetOptions().map_entry:
            assert message.fields_by_name["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING, name
            assert message.fields_by_name["value"].message_type is None, name
