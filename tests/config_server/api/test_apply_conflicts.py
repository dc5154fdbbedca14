"""Batches that are right in themselves and conflict with what was applied before."""

import grpc

from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import batch, delete, proxy_service, route, secret, service, upstream


async def test_other_content_under_a_used_request_id(filled: RunningServer) -> None:
    request = batch(route("c"))
    request.request_id = "once"
    await filled.apply_request(request)
    request.author = "somebody else"
    refusal = await refused(filled.apply_request(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_prune_of_what_a_resource_outside_of_the_set_names(filled: RunningServer) -> None:
    request = batch(upstream("v"), service("t", upstream="v"))
    request.set, request.prune = "files", True
    await filled.apply_request(request)
    await filled.apply(route("outside", service="t"))
    request = batch(upstream("v"))
    request.set, request.prune = "files", True
    refusal = await refused(filled.apply_request(request))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.texts == {"route outside": "backends[0].service: service 't' does not exist"}
    assert (await filled.apply()).revision == 3


async def test_a_changed_resource_that_breaks_another(filled: RunningServer) -> None:
    await filled.apply(secret("k"), proxy_service("p", secret="k"))
    narrowed = secret("k")
    narrowed.allowed_hosts.append("api.example.com")
    refusal = await refused(filled.apply(narrowed))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SECRET_HOST_NOT_ALLOWED")
    assert set(refusal.texts) == {"service p"}


async def test_of_two_writers_with_one_etag_one_wins(filled: RunningServer) -> None:
    (created,) = (await filled.apply(route("c"))).results
    change = batch(route("c", description="mine")).changes[0]
    change.etag = created.etag
    await filled.apply(change)
    change.upsert.route.description = "yours"
    refusal = await refused(filled.apply(change))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_what_was_deleted_cannot_be_deleted_again(filled: RunningServer) -> None:
    await filled.apply(delete("route", "a"))
    refusal = await refused(filled.apply(delete("route", "a")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND
