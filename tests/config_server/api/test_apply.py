"""Apply: what it does, answers and leaves alone."""

import asyncio

import pytest
from janua.config.v1.config_service_pb2 import (
    ApplyRequest,
    Change,
    ChangeResult,
    GetResourceRequest,
    ListResourcesRequest,
)
from janua.config.v1.resource_pb2 import KIND_CONSUMER, KIND_SECRET, StoredResource
from janua.config.v1.route_pb2 import Route
from janua_resources.kinds import unwrap

from tests.config_server.ads_client import ads_client
from tests.config_server.running_server import RunningServer
from tests.config_server.worlds import (
    ROUTE,
    batch,
    consumer,
    delete,
    key,
    policy,
    proxy_service,
    route,
    secret,
    service,
    upsert,
    upstream,
)

CREATED, UPDATED = ChangeResult.OUTCOME_CREATED, ChangeResult.OUTCOME_UPDATED
UNCHANGED, DELETED = ChangeResult.OUTCOME_UNCHANGED, ChangeResult.OUTCOME_DELETED


async def get(server: RunningServer, word: str, name: str) -> StoredResource:
    return (await server.config.GetResource(GetResourceRequest(key=key(word, name)))).resource


async def all_resources(server: RunningServer) -> list[StoredResource]:
    return list((await server.config.ListResources(ListResourcesRequest(page_size=1000))).resources)


async def test_a_batch_makes_one_revision_in_any_order(server: RunningServer) -> None:
    response = await server.apply(route("r"), service("s"), upstream("u"))
    assert response.revision == 1
    assert [(result.key.name, result.outcome) for result in response.results] == [
        ("r", CREATED),
        ("s", CREATED),
        ("u", CREATED),
    ]
    assert not any(result.diff for result in response.results)
    assert all(result.etag for result in response.results)


async def test_each_change_has_its_outcome_and_diff(filled: RunningServer) -> None:
    changed = route("a", description="changed")
    changed.match.models.append("more")
    response = await filled.apply(changed, route("b"), upstream("new"), upstream("u"))
    outcomes = {result.key.name: result.outcome for result in response.results}
    assert outcomes == {"a": UPDATED, "b": UNCHANGED, "new": CREATED, "u": UNCHANGED}
    diff = [(part.field, part.old_json, part.new_json) for part in response.results[0].diff]
    assert diff == [("description", "", '"changed"'), ("match.models[1]", "", '"more"')]


async def test_a_delete_has_no_etag(filled: RunningServer) -> None:
    response = await filled.apply(delete("route", "a"))
    (result,) = response.results
    assert (result.key, result.outcome, result.etag) == (key("route", "a"), DELETED, "")


async def test_a_batch_that_changes_nothing_makes_no_revision(filled: RunningServer) -> None:
    before = await get(filled, "route", "a")
    response = await filled.apply(route("a"), route("b"))
    assert response.revision == 1
    assert {result.outcome for result in response.results} == {UNCHANGED}
    assert response.results[0].etag == before.etag
    assert await get(filled, "route", "a") == before


async def test_an_empty_batch_changes_nothing(filled: RunningServer) -> None:
    response = await filled.apply()
    assert (response.revision, list(response.results)) == (1, [])


async def test_what_is_stored_is_marked(filled: RunningServer) -> None:
    created = await get(filled, "route", "a")
    request = batch(route("a", description="changed"))
    request.author = "alice"
    await filled.apply_request(request)
    changed = await get(filled, "route", "a")
    assert (created.create_revision, created.revision, created.author) == (1, 1, "")
    assert (changed.create_revision, changed.revision, changed.author) == (1, 2, "alice")
    assert changed.create_time == created.create_time
    assert changed.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
    assert changed.etag != created.etag


async def test_an_etag_is_that_of_the_state(filled: RunningServer) -> None:
    response = await filled.apply(route("a", description="changed"))
    stored = await get(filled, "route", "a")
    assert stored.etag == response.results[0].etag
    await filled.apply(upsert(route("a", description="again"), etag=stored.etag))
    await filled.apply(delete("route", "b", etag=(await get(filled, "route", "b")).etag))
    assert unwrap((await get(filled, "route", "a")).resource).description == "again"


async def test_equal_content_written_later_has_another_etag(filled: RunningServer) -> None:
    before = (await get(filled, "route", "a")).etag
    await filled.apply(route("a", description="changed"))
    await filled.apply(route("a"))
    assert (await get(filled, "route", "a")).etag != before


async def test_base_revision_lets_the_batch_through_if_it_is_the_current_one(filled: RunningServer) -> None:
    request = batch(route("c"))
    request.base_revision = 1
    assert (await filled.apply_request(request)).revision == 2


async def test_base_revision_0_means_an_empty_store(server: RunningServer) -> None:
    request = batch(upstream("u"))
    request.base_revision = 0
    assert (await server.apply_request(request)).revision == 1


async def test_must_not_exist_lets_a_creation_through(filled: RunningServer) -> None:
    response = await filled.apply(upsert(route("c"), must_not_exist=True))
    assert response.results[0].outcome == CREATED


async def test_validate_only_says_what_would_happen_and_writes_nothing(filled: RunningServer) -> None:
    request = batch(route("a", description="changed"), route("c"), delete("route", "b"), upstream("u"))
    request.validate_only = True
    response = await filled.apply_request(request)
    assert response.revision == 1
    assert [result.outcome for result in response.results] == [UPDATED, CREATED, DELETED, UNCHANGED]
    assert [part.field for part in response.results[0].diff] == ["description"]
    # Only a state that exists has an etag.
    assert [bool(result.etag) for result in response.results] == [False, False, False, True]
    assert unwrap((await get(filled, "route", "a")).resource).description == ""


async def test_validate_only_does_not_use_up_a_request_id(filled: RunningServer) -> None:
    request = batch(route("c"))
    request.request_id = "once"
    request.validate_only = True
    await filled.apply_request(request)
    request.validate_only = False
    assert (await filled.apply_request(request)).revision == 2
    # Nor does it matter to a dry run that the id is used.
    request.validate_only = True
    request.author = "somebody else"
    assert (await filled.apply_request(request)).results[0].outcome == UNCHANGED


async def test_a_retry_gets_the_first_answer(filled: RunningServer) -> None:
    request = batch(upsert(route("c"), must_not_exist=True))
    request.request_id = "once"
    request.base_revision = 1
    first = await filled.apply_request(request)
    await filled.apply(route("d"))
    assert await filled.apply_request(request) == first
    assert (await filled.apply()).revision == 3


async def test_also_if_the_first_changed_nothing(filled: RunningServer) -> None:
    request = batch(route("a"))
    request.request_id = "once"
    first = await filled.apply_request(request)
    await filled.apply(route("a", description="changed"))
    assert await filled.apply_request(request) == first
    assert unwrap((await get(filled, "route", "a")).resource).description == "changed"


async def test_a_refused_batch_may_be_tried_again_under_its_id(filled: RunningServer) -> None:
    request = batch(route("c", service="later"))
    request.request_id = "once"
    with pytest.raises(Exception, match="does not exist"):
        await filled.apply_request(request)
    await filled.apply(service("later"))
    assert (await filled.apply_request(request)).revision == 3


async def test_a_set_is_marked_moved_and_kept(filled: RunningServer) -> None:
    request = batch(route("a"), route("c"))
    request.set = "dir/one"
    response = await filled.apply_request(request)
    assert [result.outcome for result in response.results] == [UPDATED, CREATED]
    assert [(part.field, part.new_json) for part in response.results[0].diff] == [("set", '"dir/one"')]
    assert (await get(filled, "route", "a")).set == "dir/one"
    # An edit without a set leaves it where it is.
    await filled.apply(route("a", description="by hand"))
    assert (await get(filled, "route", "a")).set == "dir/one"
    request = batch(route("a", description="by hand"))
    request.set = "two"
    await filled.apply_request(request)
    assert (await get(filled, "route", "a")).set == "two"


def set_batch(*messages: Route, prune: bool = True, name: str = "files") -> ApplyRequest:
    request = batch(*messages)
    request.set = name
    request.prune = prune
    return request


async def test_prune_deletes_what_left_the_set(filled: RunningServer) -> None:
    await filled.apply_request(set_batch(route("x"), route("y"), route("z"), prune=False))
    await filled.apply_request(set_batch(route("elsewhere"), name="others"))
    response = await filled.apply_request(set_batch(route("x", description="changed")))
    assert [(result.key.name, result.outcome) for result in response.results] == [
        ("x", UPDATED),
        ("y", DELETED),
        ("z", DELETED),
    ]
    with pytest.raises(Exception, match="y does not exist"):
        await get(filled, "route", "y")
    for kept in ("a", "b", "elsewhere", "x"):
        await get(filled, "route", kept)


async def test_prune_that_finds_nothing_is_unchanged(filled: RunningServer) -> None:
    first = await filled.apply_request(set_batch(route("x")))
    assert (await filled.apply_request(set_batch(route("x")))).revision == first.revision


async def test_prune_spares_secrets_and_consumers_unless_asked(filled: RunningServer) -> None:
    request = batch(route("x"), secret("k"), consumer("c"), policy("p"), service("q"))
    request.set = "files"
    await filled.apply_request(request)
    response = await filled.apply_request(set_batch(route("x")))
    assert {result.key.name for result in response.results if result.outcome == DELETED} == {"p", "q"}
    request = set_batch(route("x"))
    request.prune_kinds.append(KIND_CONSUMER)
    response = await filled.apply_request(request)
    assert {result.key.name for result in response.results if result.outcome == DELETED} == {"c"}
    request.prune_kinds.append(KIND_SECRET)
    response = await filled.apply_request(request)
    assert {result.key.name for result in response.results if result.outcome == DELETED} == {"k"}


async def test_prune_counts_a_deletion_in_the_batch_once(filled: RunningServer) -> None:
    await filled.apply_request(set_batch(route("x"), route("y")))
    request = set_batch(route("x"))
    request.changes.append(delete("route", "y"))
    response = await filled.apply_request(request)
    assert [result.outcome for result in response.results] == [UNCHANGED, DELETED]


async def test_warnings_are_about_the_batch_alone(filled: RunningServer) -> None:
    response = await filled.apply(route("c"), policy("unused"))
    assert {(warning.key.name, warning.field) for warning in response.warnings} == {("c", "policies"), ("unused", "")}


async def test_connected_nodes_are_counted_once_each(filled: RunningServer) -> None:
    assert (await filled.apply(route("c"))).connected_nodes == 0
    channel = filled.channel
    async with (
        ads_client(channel, "one") as one,
        ads_client(channel, "one") as again,
        ads_client(channel, "two") as two,
    ):
        for client in (one, again, two):
            await client.ask(ROUTE)
        assert (await filled.apply(route("d"))).connected_nodes == 2


async def test_a_reference_may_be_made_and_used_in_one_batch(filled: RunningServer) -> None:
    await filled.apply(
        route("a", service="t"),
        service("t", upstream="v"),
        upstream("v"),
        delete("service", "s"),
        route("b", service="t"),
    )


async def test_what_is_named_can_go_together_with_what_names_it(filled: RunningServer) -> None:
    response = await filled.apply(
        delete("upstream", "u"), delete("service", "s"), delete("route", "a"), delete("route", "b")
    )
    assert response.revision == 2


async def test_writers_at_once_lose_nothing(server: RunningServer) -> None:
    await server.apply(upstream("u"), service("s"))

    async def write(writer: int) -> list[int]:
        return [(await server.apply(route(f"w{writer}-{number}"))).revision for number in range(20)]

    revisions = await asyncio.gather(*(write(writer) for writer in range(8)))
    assert sorted(revision for made in revisions for revision in made) == list(range(2, 162))
    for made in revisions:
        assert made == sorted(made)
    for writer in range(8):
        for number in range(20):
            await get(server, "route", f"w{writer}-{number}")


async def test_an_apply_goes_through_although_its_caller_leaves(filled: RunningServer) -> None:
    calls = [filled.config.Apply(batch(route(f"r{number}"))) for number in range(20)]
    await calls[0]
    for call in calls[1:]:
        call.cancel()
    # Whatever was carried out is told by all alike: the cache has what the store has.
    revision = (await filled.apply(route("last"))).revision
    listed = {stored.revision for stored in await all_resources(filled)}
    assert max(listed) == revision
    assert listed == set(range(1, revision + 1))


async def test_a_batch_of_10000_is_one_revision(server: RunningServer) -> None:
    response = await server.apply(*(consumer(f"c{number}") for number in range(10_000)))
    assert (response.revision, len(response.results)) == (1, 10_000)
    assert response.ByteSize() < 4 * 1024 * 1024


async def test_other_calls_are_answered_while_a_large_batch_is_checked(filled: RunningServer) -> None:
    large = asyncio.ensure_future(filled.apply(*(consumer(f"c{number}") for number in range(10_000))))
    answered = 0
    while not large.done():
        await get(filled, "route", "a")
        answered += 1
    await large
    assert answered > 10


async def test_diffs_that_would_not_fit_are_left_out(server: RunningServer) -> None:
    keys = [[f"{number * 100 + each:064x}" for each in range(60)] for number in range(400)]
    await server.apply(*(consumer(f"c{number}", keys=keys[number]) for number in range(400)))
    response = await server.apply(
        *(consumer(f"c{number}", keys=[key[::-1] for key in keys[number]], description="x") for number in range(400))
    )
    assert {result.outcome for result in response.results} == {UPDATED}
    assert response.results[0].diff
    assert not response.results[-1].diff
    assert response.ByteSize() < 3 * 1024 * 1024


async def test_a_service_that_uses_a_secret(filled: RunningServer) -> None:
    await filled.apply(secret("k"), proxy_service("p", secret="k"), Change(delete=key("route", "a")))
