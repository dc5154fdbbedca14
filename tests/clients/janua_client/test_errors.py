"""Errors of calls: every code has its class, and the details a server sends are read."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from janua.config.v1.config_service_pb2 import ApplyRequest, ApplyResponse
from janua.config.v1.resource_pb2 import KIND_ROUTE
from janua_client import errors
from janua_client.config_client import ConfigClient
from janua_client.errors import FieldViolation, JanuaError
from janua_client.unary import ONCE

from tests.clients.janua_client.scripted_server import fail, serving

Context = grpc.aio.ServicerContext[ApplyRequest, ApplyResponse]


async def error_of(code: grpc.StatusCode, message: str, *details: Message) -> JanuaError:
    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        await fail(context, code, message, details)
        raise AssertionError("the call was aborted")

    async with serving(Apply=apply) as address, ConfigClient(address, retries=ONCE) as client:
        with pytest.raises(JanuaError) as caught:
            await client.apply([])
        return caught.value


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_code_has_a_class(code: grpc.StatusCode) -> None:
    error = await error_of(code, "why")
    assert error.code is code
    assert (str(error), error.message) == ("why", "why")
    assert (error.reason, error.metadata, error.violations, error.retry_after) == ("", {}, (), None)
    assert (type(error) is JanuaError) == (code is grpc.StatusCode.UNKNOWN)


async def test_reads_the_standard_details() -> None:
    error = await error_of(
        grpc.StatusCode.INVALID_ARGUMENT,
        "2 problems",
        error_details_pb2.ErrorInfo(reason="INVALID_CONFIG", domain="janua", metadata={"kind": "route"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field="changes[0].upsert.route.match.path", description="no regex", reason="INVALID_FIELD"
                ),
                error_details_pb2.BadRequest.FieldViolation(field="changes[1]", description="twice"),
            ]
        ),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
        Empty(),  # a detail that we do not know
    )
    assert isinstance(error, errors.InvalidArgumentError)
    assert (error.reason, error.metadata) == ("INVALID_CONFIG", {"kind": "route"})
    assert error.violations == (
        FieldViolation(field="changes[0].upsert.route.match.path", description="no regex", reason="INVALID_FIELD"),
        FieldViolation(field="changes[1]", description="twice", reason=""),
    )
    assert error.retry_after == timedelta(seconds=2.5)


async def test_reads_what_a_precondition_names() -> None:
    error = await error_of(
        grpc.StatusCode.FAILED_PRECONDITION,
        "in use",
        error_details_pb2.PreconditionFailure(
            violations=[
                error_details_pb2.PreconditionFailure.Violation(
                    type="UNRESOLVED_REFERENCE", subject="route chat", description="names it"
                )
            ]
        ),
    )
    assert isinstance(error, errors.FailedPreconditionError)
    assert error.violations == (
        FieldViolation(field="route chat", description="names it", reason="UNRESOLVED_REFERENCE"),
    )


@pytest.mark.parametrize("bytes_", [b"\xff\xff", b"", b"\x1a\x02\x12\x00"], ids=["garbage", "empty", "no type"])
async def test_damaged_details_do_not_hide_the_error(bytes_: bytes) -> None:
    async def apply(request: ApplyRequest, context: Context) -> ApplyResponse:
        context.set_trailing_metadata((("grpc-status-details-bin", bytes_),))
        await context.abort(grpc.StatusCode.ABORTED, "somebody was faster")
        raise AssertionError("the call was aborted")

    async with serving(Apply=apply) as address, ConfigClient(address) as client:
        with pytest.raises(errors.AbortedError, match="somebody was faster"):
            await client.apply([])


async def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    async with ConfigClient("127.0.0.1:1", retries=ONCE) as client:
        with pytest.raises(errors.UnavailableError, match=r"127\.0\.0\.1:1"):
            await client.nodes()


async def test_another_kind_of_server_is_unimplemented() -> None:
    async with serving() as address, ConfigClient(address) as client:
        with pytest.raises(errors.UnimplementedError):
            await client.get(KIND_ROUTE, "chat")
