"""Refusals as statuses: what fits into the metadata that clients take."""

from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from config_server.errors import ApiError, Conflict, RequestViolation, conflicting, invalid

# The least that clients take is 8 KiB for all metadata, and base64 adds a third to the status.
LARGEST = 8192 * 3 // 4

texts = st.text(min_size=1, max_size=2000)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=60))
def test_a_status_fits_into_the_metadata(found: list[tuple[str, str]]) -> None:
    violations = [RequestViolation(path=path, message=text, reason="INVALID_FIELD") for path, text in found]
    conflicts = [Conflict(subject=path, message=text, reason="UNRESOLVED_REFERENCE") for path, text in found]
    for error in (invalid(violations), conflicting(conflicts)):
        assert error.status().ByteSize() <= LARGEST
        assert len(error.status().details) == 2


def test_all_violations_are_listed_as_long_as_they_fit() -> None:
    violations = [RequestViolation(path=f"changes[{number}]", message="no", reason="R") for number in range(80)]
    error = invalid(violations)
    detail = error_details_pb2.BadRequest()
    assert error.status().details[1].Unpack(detail)
    assert [part.field for part in detail.field_violations] == [violation.path for violation in violations]
    assert error.message == "changes[0]: no (and 79 more)"


def test_a_long_text_is_cut() -> None:
    status = ApiError(code_pb2.ABORTED, "R", "x" * 10_000).status()
    assert len(status.message) == 400
    assert status.message.endswith("…")
