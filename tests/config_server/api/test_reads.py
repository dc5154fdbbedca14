"""Get, List and Delete."""

import grpc
import pytest
from janua.config.v1.config_service_pb2 import (
    DeleteResourceRequest,
    GetResourceRequest,
    ListResourcesRequest,
    ListResourcesResponse,
)
from janua.config.v1.resource_pb2 import KIND_ROUTE, KIND_SERVICE, Kind, ResourceKey, StoredResource
from janua_resources.kinds import unwrap

from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import batch, consumer, key, policy, route, service, upstream

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def names(response: ListResourcesResponse) -> list[str]:
    return [unwrap(stored.resource).name for stored in response.resources]


async def test_get_gives_what_was_applied(filled: RunningServer) -> None:
    response = await filled.config.GetResource(GetResourceRequest(key=key("route", "a")))
    assert unwrap(response.resource.resource) == route("a")
    assert response.revision == 1


async def test_get_of_an_empty_message_keeps_its_kind(filled: RunningServer) -> None:
    await filled.apply(policy("p"))
    response = await filled.config.GetResource(GetResourceRequest(key=key("policy", "p")))
    assert response.resource.resource.policy.HasField("api_key_auth")


async def test_get_of_what_does_not_exist(filled: RunningServer) -> None:
    refusal = await refused(filled.config.GetResource(GetResourceRequest(key=key("route", "nowhere"))))
    assert (refusal.code, refusal.reason, refusal.text) == (
        NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        "route nowhere does not exist",
    )


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (GetResourceRequest(), "key"),
        (GetResourceRequest(key=ResourceKey(name="a")), "key.kind"),
        (GetResourceRequest(key=ResourceKey(kind=KIND_ROUTE)), "key.name"),
    ],
)
async def test_get_without_a_key(filled: RunningServer, request_: GetResourceRequest, path: str) -> None:
    refusal = await refused(filled.config.GetResource(request_))
    assert (refusal.code, list(refusal.fields)) == (INVALID, [path])


async def test_list_is_ordered_by_kind_and_name(filled: RunningServer) -> None:
    await filled.apply(consumer("c"), route("0"), service("a"))
    response = await filled.config.ListResources(ListResourcesRequest())
    kinds = [stored.resource.WhichOneof("kind") for stored in response.resources]
    assert list(zip(kinds, names(response), strict=True)) == [
        ("service", "a"),
        ("service", "s"),
        ("upstream", "u"),
        ("route", "0"),
        ("route", "a"),
        ("route", "b"),
        ("consumer", "c"),
    ]
    assert response.revision == 2
    assert response.next_page_token == ""


async def test_list_of_an_empty_store(server: RunningServer) -> None:
    response = await server.config.ListResources(ListResourcesRequest())
    assert (names(response), response.next_page_token, response.revision) == ([], "", 0)


async def test_list_by_kind_labels_and_set(filled: RunningServer) -> None:
    one, two = route("one"), route("two")
    one.labels.update({"team": "search", "stage": "live"})
    two.labels.update({"team": "search"})
    request = batch(one, two)
    request.set = "files"
    await filled.apply_request(request)
    asked = ListResourcesRequest
    assert names(await filled.config.ListResources(asked(kind=KIND_SERVICE))) == ["s"]
    assert names(await filled.config.ListResources(asked(set="files"))) == ["one", "two"]
    assert names(await filled.config.ListResources(asked(labels={"team": "search"}))) == ["one", "two"]
    assert names(await filled.config.ListResources(asked(labels={"team": "search", "stage": "live"}))) == ["one"]
    assert names(await filled.config.ListResources(asked(kind=KIND_SERVICE, set="files"))) == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 1000])
async def test_pages_join_to_the_whole(filled: RunningServer, page_size: int) -> None:
    await filled.apply(*(route(f"r{number}") for number in range(5)))
    whole = await filled.config.ListResources(ListResourcesRequest())
    request = ListResourcesRequest(page_size=page_size)
    found: list[StoredResource] = []
    while True:
        page = await filled.config.ListResources(request)
        assert 0 < len(page.resources) <= page_size
        found.extend(page.resources)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == list(whole.resources)


async def test_a_page_has_500_resources_by_default(filled: RunningServer) -> None:
    await filled.apply(*(consumer(f"c{number:03}") for number in range(501)))
    page = await filled.config.ListResources(ListResourcesRequest())
    assert (len(page.resources), bool(page.next_page_token)) == (500, True)


async def test_a_page_stays_below_what_clients_take_by_default(filled: RunningServer) -> None:
    large = [consumer(f"c{number}") for number in range(8)]
    for each in large:
        each.labels["x"] = "x" * 1_000_000
    await filled.apply(*large)
    request = ListResourcesRequest()
    sizes, found = [], []
    while True:
        page = await filled.config.ListResources(request)
        sizes.append(page.ByteSize())
        found.extend(names(page))
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert max(sizes) <= 4 * 1024 * 1024
    assert len(found) == len(set(found)) == 12


async def test_a_listing_goes_on_where_it_was_although_things_change(filled: RunningServer) -> None:
    request = ListResourcesRequest(kind=KIND_ROUTE, page_size=1)
    first = await filled.config.ListResources(request)
    await filled.config.DeleteResource(DeleteResourceRequest(key=key("route", "a")))
    await filled.apply(route("aa"), route("0"))
    request.page_token = first.next_page_token
    request.page_size = 10
    second = await filled.config.ListResources(request)
    assert (names(first), names(second)) == (["a"], ["aa", "b"])
    assert (first.revision, second.revision) == (1, 3)


@pytest.mark.parametrize("token", ["nonsense", "!!!", "bm90IG91cnM=", "\u00e9"])
async def test_a_token_that_is_none(filled: RunningServer, token: str) -> None:
    refusal = await refused(filled.config.ListResources(ListResourcesRequest(page_token=token)))
    assert (refusal.code, refusal.reason) == (INVALID, "PAGE_TOKEN_INVALID")


async def test_a_token_of_another_listing(filled: RunningServer) -> None:
    page = await filled.config.ListResources(ListResourcesRequest(page_size=1))
    request = ListResourcesRequest(page_size=1, kind=KIND_ROUTE, page_token=page.next_page_token)
    refusal = await refused(filled.config.ListResources(request))
    assert (refusal.code, refusal.reason) == (INVALID, "PAGE_TOKEN_INVALID")
    assert "other kind" in refusal.text


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (ListResourcesRequest(page_size=-1), "page_size"),
        (ListResourcesRequest(page_size=1001), "page_size"),
        (ListResourcesRequest(kind=Kind.ValueType(99)), "kind"),
    ],
)
async def test_a_listing_that_cannot_be(filled: RunningServer, request_: ListResourcesRequest, path: str) -> None:
    refusal = await refused(filled.config.ListResources(request_))
    assert (refusal.code, list(refusal.fields)) == (INVALID, [path])


async def test_delete_is_an_apply_of_one(filled: RunningServer) -> None:
    stored = (await filled.config.GetResource(GetResourceRequest(key=key("route", "a")))).resource
    response = await filled.config.DeleteResource(DeleteResourceRequest(key=key("route", "a"), etag=stored.etag))
    assert response.revision == 2
    assert names(await filled.config.ListResources(ListResourcesRequest(kind=KIND_ROUTE))) == ["b"]


async def test_delete_names_who_still_refers_to_it(filled: RunningServer) -> None:
    refusal = await refused(filled.config.DeleteResource(DeleteResourceRequest(key=key("upstream", "u"))))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert set(refusal.texts) == {"service s"}


async def test_delete_refuses_as_apply_does(filled: RunningServer) -> None:
    delete = filled.config.DeleteResource
    refusal = await refused(delete(DeleteResourceRequest(key=key("route", "nowhere"))))
    assert refusal.code is NOT_FOUND
    refusal = await refused(delete(DeleteResourceRequest(key=key("route", "a"), etag="stale")))
    assert refusal.code is grpc.StatusCode.ABORTED
    refusal = await refused(delete(DeleteResourceRequest()))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["key"])


async def test_an_upstream_that_nothing_names_can_go(filled: RunningServer) -> None:
    await filled.apply(upstream("v"))
    assert (await filled.config.DeleteResource(DeleteResourceRequest(key=key("upstream", "v")))).revision == 3
