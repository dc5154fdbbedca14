"""Durations as seconds."""

import pytest
from google.protobuf.duration_pb2 import Duration
from janua.config.v1.service_pb2 import Timeouts

from gateway.compile.durations import optional_seconds, seconds


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (Duration(seconds=5), 5.0),
        (Duration(nanos=250_000_000), 0.25),
        (Duration(seconds=1, nanos=1), 1.000000001),
        (Duration(), 0.0),
        (Duration(seconds=315_576_000_000), 315_576_000_000.0),
    ],
)
def test_duration(duration: Duration, expected: float) -> None:
    message = Timeouts(connect=duration)
    assert optional_seconds(message, "connect") == seconds(message, "connect", 7.0) == expected


def test_unset_is_the_default_and_zero_is_not() -> None:
    assert optional_seconds(Timeouts(), "connect") is None
    assert seconds(Timeouts(), "connect", 7.0) == 7.0
    assert seconds(Timeouts(connect=Duration()), "connect", 7.0) == 0.0
