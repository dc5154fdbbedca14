"""Revisions, what they changed, and going back to them."""

import asyncio
import tempfile
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

import grpc
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.resource_pb2 import KIND_SECRET, KIND_UNSPECIFIED
from janua_resources.kinds import ConfigMessage, kind_of, unwrap

from config_server.store.sqlite import open_sqlite
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import batch, consumer, delete, key, proxy_service, route, secret, upstream

CREATED, UPDATED, DELETED = (
    pb.ChangeResult.OUTCOME_CREATED,
    pb.ChangeResult.OUTCOME_UPDATED,
    pb.ChangeResult.OUTCOME_DELETED,
)


async def state(server: RunningServer, revision: int = 0) -> dict[tuple[int, str], tuple[ConfigMessage, str]]:
    """All resources and their sets, page by page."""
    found: dict[tuple[int, str], tuple[ConfigMessage, str]] = {}
    request = pb.ListResourcesRequest(kind=KIND_UNSPECIFIED, page_size=2, revision=revision)
    while True:
        page = await server.config.ListResources(request)
        for each in page.resources:
            message = unwrap(each.resource)
            found[kind_of(message).kind, message.name] = (message, each.set)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def rolled_back(server: RunningServer, revision: int, **fields: Any) -> pb.RollbackResponse:
    return await server.config.Rollback(pb.RollbackRequest(to_revision=revision, **fields))


def outcomes(results: Iterable[pb.ChangeResult]) -> set[tuple[int, str]]:
    unchanged = pb.ChangeResult.OUTCOME_UNCHANGED
    return {(each.outcome, each.key.name) for each in results if each.outcome != unchanged}


async def test_revisions_tell_who_when_and_why(filled: RunningServer) -> None:
    request = batch(upstream("u", description="new"))
    request.author, request.message = "bob", "because"
    await filled.apply_request(request)
    await filled.config.DeleteResource(
        pb.DeleteResourceRequest(key=key("route", "a"), author="eve", message="not needed")
    )
    listed = await filled.config.ListRevisions(pb.ListRevisionsRequest())
    assert [(each.revision, each.author, each.message) for each in listed.revisions] == [
        (3, "eve", "not needed"),
        (2, "bob", "because"),
        (1, "", ""),
    ]
    times = [each.create_time.ToNanoseconds() for each in listed.revisions]
    assert times == sorted(times, reverse=True)
    assert all(times)
    assert listed.next_page_token == ""


async def test_revisions_come_in_pages(filled: RunningServer) -> None:
    for number in range(4):
        await filled.apply(consumer(f"c{number}"))
    request = pb.ListRevisionsRequest(page_size=2)
    pages = []
    while True:
        page = await filled.config.ListRevisions(request)
        pages.append([each.revision for each in page.revisions])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [[5, 4], [3, 2], [1]]
    for token in ("x", "9" * 19):  # the second is a number, and larger than any revision can be
        refusal = await refused(filled.config.ListRevisions(pb.ListRevisionsRequest(page_token=token)))
        assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


async def test_a_revision_tells_what_it_changed(filled: RunningServer) -> None:
    await filled.apply(upstream("u", description="new"), consumer("c"), delete("route", "a"))
    told = await filled.config.GetRevision(pb.GetRevisionRequest(revision=2))
    assert told.revision.revision == 2
    assert [(each.outcome, each.key.name) for each in told.changes] == [(UPDATED, "u"), (DELETED, "a"), (CREATED, "c")]
    (changed,) = (each for each in told.changes if each.outcome == UPDATED)
    assert [(diff.old_json, diff.new_json) for diff in changed.diff] == [("", '"new"')]


async def test_two_revisions_are_compared_in_both_directions(filled: RunningServer) -> None:
    await filled.apply(upstream("u", description="new"))
    await filled.apply(consumer("c"))
    forth = await filled.config.DiffRevisions(pb.DiffRevisionsRequest(from_revision=1))
    assert forth.to_revision == 3
    assert outcomes(forth.changes) == {(UPDATED, "u"), (CREATED, "c")}
    back = await filled.config.DiffRevisions(pb.DiffRevisionsRequest(from_revision=3, to_revision=1))
    assert outcomes(back.changes) == {(UPDATED, "u"), (DELETED, "c")}


async def test_resources_are_read_as_they_were(filled: RunningServer) -> None:
    before = await state(filled)
    await filled.apply(upstream("u", description="new"), delete("route", "a"), consumer("c"))
    assert await state(filled, revision=1) == before
    was = await filled.config.GetResource(pb.GetResourceRequest(key=key("route", "a"), revision=1))
    assert (unwrap(was.resource.resource), was.revision) == (route("a"), 1)
    refusal = await refused(filled.config.GetResource(pb.GetResourceRequest(key=key("consumer", "c"), revision=1)))
    assert refusal.text == "consumer c did not exist at revision 1"


@pytest.mark.parametrize("revision", [9, 1 << 60])
async def test_a_revision_that_was_never_made(filled: RunningServer, revision: int) -> None:
    calls = (
        filled.config.GetRevision(pb.GetRevisionRequest(revision=revision)),
        filled.config.DiffRevisions(pb.DiffRevisionsRequest(from_revision=revision)),
        filled.config.ListResources(pb.ListResourcesRequest(revision=revision)),
        filled.config.Rollback(pb.RollbackRequest(to_revision=revision)),
        filled.config.Rollback(pb.RollbackRequest(undo_revision=revision)),
    )
    for call in calls:
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")
        assert refusal.text == f"revision {revision} was never made; the current one is 1"


async def test_what_is_not_kept_any_more_is_out_of_range(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        for number in range(5):
            await server.apply(upstream("u", description=f"{number}"))
    async with open_sqlite(f"sqlite:///{path}") as store:
        await store.compact(3)
    content = "the configuration of revision 2 is not kept any more; the oldest that is kept is that of revision 3"
    changes = "what revision 3 changed is not kept any more; the oldest that is kept is that of revision 4"
    async with running_server(path) as server:
        config = server.config
        asked: list[tuple[Awaitable[object], str]] = [
            (config.GetResource(pb.GetResourceRequest(key=key("upstream", "u"), revision=2)), content),
            (config.ListResources(pb.ListResourcesRequest(revision=2)), content),
            (config.DiffRevisions(pb.DiffRevisionsRequest(from_revision=2)), content),
            (config.Rollback(pb.RollbackRequest(to_revision=2)), content),
            (config.Rollback(pb.RollbackRequest(undo_revision=3)), changes),
            (config.GetRevision(pb.GetRevisionRequest(revision=3)), changes),
            (config.GetRollout(pb.GetRolloutRequest(revision=3)), changes),
            (
                config.WatchResources(pb.WatchResourcesRequest(after_revision=2)).read(),
                f"{changes}: begin without after_revision",
            ),
        ]
        for call, text in asked:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED")
            assert refusal.text == text
        listed = await config.ListRevisions(pb.ListRevisionsRequest())
        assert (len(listed.revisions), listed.oldest_kept_revision) == (5, 3), "who made them is known of all"
        # What is kept: from the oldest on.
        assert len(await state(server, 3)) == 1
        assert len((await config.GetRevision(pb.GetRevisionRequest(revision=4))).changes) == 1
        watch: Any = config.WatchResources(pb.WatchResourcesRequest(after_revision=3))
        assert [(await watch.read()).revision for _ in range(2)] == [4, 5]
        watch.cancel()


async def test_a_rollback_is_a_new_revision_with_old_content(filled: RunningServer) -> None:
    before = await state(filled)
    await filled.apply(upstream("u", description="new"), delete("route", "a"), consumer("c"))
    answer = await rolled_back(filled, 1, author="bob")
    assert answer.revision == 3
    assert outcomes(answer.results) == {(UPDATED, "u"), (CREATED, "a"), (DELETED, "c")}
    assert await state(filled) == before
    (newest, *_) = (await filled.config.ListRevisions(pb.ListRevisionsRequest())).revisions
    assert (newest.author, newest.message) == ("bob", "back to revision 1")


async def test_a_rollback_to_what_is_there_makes_no_revision(filled: RunningServer) -> None:
    assert (await rolled_back(filled, 1)).revision == 1


async def test_a_rollback_can_be_tried(filled: RunningServer) -> None:
    await filled.apply(consumer("c"))
    answer = await rolled_back(filled, 1, validate_only=True)
    assert (answer.revision, [each.key.name for each in answer.results if each.outcome == DELETED]) == (2, ["c"])
    assert len(await state(filled)) == len(await state(filled, revision=2))


async def test_a_rollback_that_is_repeated_is_made_once(filled: RunningServer) -> None:
    await filled.apply(consumer("c"))
    first = await rolled_back(filled, 1, request_id="once")
    await filled.apply(consumer("d"))
    assert await rolled_back(filled, 1, request_id="once") == first
    refusal = await refused(filled.config.Rollback(pb.RollbackRequest(to_revision=2, request_id="once")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_an_undoing_that_is_repeated_is_made_once(filled: RunningServer) -> None:
    await filled.apply(upstream("u", description="wrong"))
    request = pb.RollbackRequest(undo_revision=2, request_id="once")
    assert await filled.config.Rollback(request) == await filled.config.Rollback(request)


async def test_secrets_go_back_only_if_asked(filled: RunningServer) -> None:
    await filled.apply(secret("key", env="OLD"), proxy_service("p", secret="key"))
    await filled.apply(secret("key", env="NEW"), proxy_service("p", secret="key", description="new"))
    await rolled_back(filled, 2)
    now = await state(filled)
    assert now[KIND_SECRET, "key"][0] == secret("key", env="NEW")
    await rolled_back(filled, 2, include_secrets=True)
    assert await state(filled) == await state(filled, revision=2)


async def test_a_rollback_that_would_dangle_is_refused(filled: RunningServer) -> None:
    await filled.apply(secret("key"), proxy_service("p", secret="key"))
    await filled.apply(delete("service", "p"), delete("secret", "key"))
    refusal = await refused(filled.config.Rollback(pb.RollbackRequest(to_revision=2)))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert any("key" in text for text in refusal.texts.values())
    assert (await filled.config.ListRevisions(pb.ListRevisionsRequest(page_size=1))).revisions[0].revision == 3


async def test_one_revision_is_undone_and_what_came_after_stays(filled: RunningServer) -> None:
    await filled.apply(upstream("u", description="wrong"), route("new"))
    await filled.apply(consumer("c"))
    answer = await filled.config.Rollback(pb.RollbackRequest(undo_revision=2))
    assert outcomes(answer.results) == {(UPDATED, "u"), (DELETED, "new")}
    now, before = await state(filled), await state(filled, revision=1)
    assert {name: value for name, value in now.items() if name[1] != "c"} == before
    (newest, *_) = (await filled.config.ListRevisions(pb.ListRevisionsRequest())).revisions
    assert newest.message == "revision 2 undone"


@pytest.mark.parametrize("again", [upstream("u", description="right"), delete("route", "new")])
async def test_what_was_changed_since_is_not_undone(filled: RunningServer, again: ConfigMessage) -> None:
    await filled.apply(upstream("u", description="wrong"), route("new"))
    await filled.apply(again)
    refusal = await refused(filled.config.Rollback(pb.RollbackRequest(undo_revision=2)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CHANGED_SINCE")
    assert ("upstream u" in refusal.text) != ("route new" in refusal.text)


async def test_a_rollback_needs_a_target(filled: RunningServer) -> None:
    refusal = await refused(filled.config.Rollback(pb.RollbackRequest()))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["target"])


async def test_sets_go_back_too(filled: RunningServer) -> None:
    request = batch(upstream("u", description="new"), consumer("c"))
    request.set = "files"
    await filled.apply_request(request)
    before = await state(filled)
    assert {value[1] for value in before.values()} == {"", "files"}
    request.set = "other"
    await filled.apply_request(request)
    await filled.apply(delete("consumer", "c"))
    await rolled_back(filled, 2)
    assert await state(filled) == before
    await rolled_back(filled, 1)
    assert await state(filled) == await state(filled, revision=1)


STEPS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y", None]), min_size=1),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, data=st.data())
def test_any_state_can_be_gone_back_to(steps: list[dict[str, str | None]], data: st.DataObject) -> None:
    """Consumers are written with a description, or deleted (None) if they are there."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with running_server(Path(directory) / "config.db") as server:
                states = [await state(server)]
                for step in steps:
                    names = {name for _, name in states[-1]}
                    changes = [
                        delete("consumer", name) if text is None else consumer(name, description=text)
                        for name, text in step.items()
                        if text is not None or name in names
                    ]
                    if changes and (await server.apply(*changes)).revision == len(states):
                        states.append(await state(server))
                for revision, was in enumerate(states[1:], 1):
                    assert await state(server, revision=revision) == was
                target = data.draw(st.integers(0, len(states) - 1))
                if target:
                    difference = pb.DiffRevisionsRequest(from_revision=len(states) - 1, to_revision=target)
                    expected = (await server.config.DiffRevisions(difference)).changes
                    done = (await rolled_back(server, target, validate_only=True)).results
                    assert outcomes(done) == outcomes(expected)
                await rolled_back(server, target)
                assert await state(server) == states[target]

    asyncio.run(run())
