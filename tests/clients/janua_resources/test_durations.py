import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st
from janua_resources.durations import format_duration, from_nanos, is_valid, parse_duration, to_nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("5s", 5_000_000_000),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("2m", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("10us", 10_000),
        ("7ns", 7),
        ("0s", 0),
        ("-1s", -1_000_000_000),
        ("0.000000001s", 1),
        ("315576000000s", 315_576_000_000 * 10**9),
    ],
)
def test_durations_are_read(text: str, nanos: int) -> None:
    assert to_nanos(parse_duration(text)) == nanos


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a duration"),
        ("5", "has no unit; put s or ms after it"),
        ("1.5", "has no unit"),
        ("5 s", "not a duration"),
        ("5S", "not a duration"),
        ("s", "not a duration"),
        (".5s", "not a duration"),
        ("1h30m", "not a duration"),
        ("\u0665s", "not a duration"),
        ("5s\n", "not a duration"),
        ("5d", "'d' is not a unit"),
        ("0.5ns", "finer than a nanosecond"),
        ("315576000001s", "10,000 years"),
        ("1" * 18 + "h", "10,000 years"),
        ("1" * 19 + "s", "not a duration"),
    ],
)
def test_bad_durations_are_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_duration(text)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0s"),
        (90 * 10**9, "90s"),
        (250_000_000, "250ms"),
        (1_500_000_000, "1.5s"),
        (1_234_000_000, "1.234s"),
        (100_000_000, "100ms"),
        (-250_000_000, "-250ms"),
        (1, "0.000001ms"),
    ],
)
def test_durations_are_written_in_seconds_or_milliseconds(nanos: int, text: str) -> None:
    assert format_duration(from_nanos(nanos)) == text


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(-315_576_000_000 * 10**9, 315_576_000_000 * 10**9))
def test_what_is_written_reads_back(nanos: int) -> None:
    duration = from_nanos(nanos)
    assert is_valid(duration)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    "duration",
    [
        Duration(seconds=315_576_000_001),
        Duration(seconds=-315_576_000_001),
        Duration(nanos=1_000_000_000),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=-1, nanos=1),
    ],
)
def test_durations_that_protobuf_forbids_are_not_valid(duration: Duration) -> None:
    assert not is_valid(duration)
