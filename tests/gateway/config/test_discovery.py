"""What a refusal says, and how much of it."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.discovery import (
    MAX_MESSAGE_BYTES,
    DiscoveryResponse,
    error_message,
    one_line,
    structural_faults,
)
from gateway.config.resources import ROUTE, UPSTREAM, ReceivedResource, Rejection


def test_a_response_without_faults_has_none() -> None:
    response = DiscoveryResponse(
        type_url=ROUTE, nonce="1", resources=(ReceivedResource(ROUTE, "a", "v1", b""),), removals=("b",)
    )
    assert structural_faults(response) == []
    assert response.names == {"a", "b"}


def test_all_faults_of_a_response_are_named() -> None:
    response = DiscoveryResponse(
        type_url=ROUTE,
        nonce="1",
        resources=(ReceivedResource(UPSTREAM, "stray", "v1", b""), ReceivedResource(ROUTE, "twice", "v2", b"")),
        removals=("twice",),
        undecodable=(Rejection(type_url=ROUTE, name="bad", version="v3", reason="UNDECODABLE"),),
    )
    faults = {(fault.name, fault.version, fault.reason) for fault in structural_faults(response)}
    assert faults == {("stray", "v1", "TYPE_MISMATCH"), ("twice", "v2", "DUPLICATE"), ("bad", "v3", "UNDECODABLE")}


def test_content_that_is_not_there_is_a_fault() -> None:
    response = DiscoveryResponse(type_url=ROUTE, nonce="1", resources=(ReceivedResource("", "a", "v1", b""),))
    (fault,) = structural_faults(response)
    assert fault.reason == "TYPE_MISMATCH"


def test_a_message_names_each_resource_with_reason_and_field() -> None:
    rejections = (
        Rejection(type_url=ROUTE, name="a", version="v1", reason="INVALID_FIELD", field="match", message="no\nend"),
        Rejection(type_url=ROUTE, name="b", version="v1", reason="UNKNOWN_KIND"),
    )
    assert error_message(rejections) == "2 resources refused: a INVALID_FIELD match: no end; b UNKNOWN_KIND"


@given(st.text(alphabet=st.characters(), max_size=50), st.integers(1, 400))
def test_one_line_is_one_line_of_bounded_valid_utf_8(text: str, times: int) -> None:
    line = one_line(text * times)
    assert len(line.encode()) <= MAX_MESSAGE_BYTES
    assert len(line.splitlines()) <= 1
    assert "\n" not in line
