"""What the details of a refused call say."""

from collections.abc import Awaitable
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio


@dataclass(frozen=True, slots=True)
class Refusal:
    code: grpc.StatusCode
    text: str
    reason: str
    fields: dict[str, str]
    """Path of each violation → its reason."""
    texts: dict[str, str]
    """Path of each violation, or the subject of each conflict → its text."""


async def refused(call: Awaitable[object]) -> Refusal:
    """Awaits a call that must be refused, with an ErrorInfo of ours."""
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    error = raised.value
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    info, bad, conflicts = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.PreconditionFailure(),
    )
    for detail in status.details:
        assert any(detail.Unpack(known) for known in (info, bad, conflicts))
    assert info.domain == "janua"
    return Refusal(
        code=error.code(),
        text=error.details() or "",
        reason=info.reason,
        fields={violation.field: violation.reason for violation in bad.field_violations},
        texts={violation.field: violation.description for violation in bad.field_violations}
        | {violation.subject: violation.description for violation in conflicts.violations},
    )
