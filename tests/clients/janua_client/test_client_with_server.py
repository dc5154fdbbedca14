"""The client library with a real config server: what only the two together can show."""

import asyncio
from contextlib import aclosing

import pytest
from janua.config.v1.config_service_pb2 import ChangeResult, ResourceEvent
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.resource_pb2 import KIND_POLICY, KIND_ROUTE, KIND_UPSTREAM
from janua.config.v1.route_pb2 import Backend, Route
from janua.config.v1.service_pb2 import Service, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, Upstream
from janua_client import ConfigClient, deletion, upsert
from janua_client.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
)
from janua_resources.kinds import unwrap

from tests.support.processes import ConfigServer

LONG = 30.0


def policy(name: str, description: str = "") -> Policy:
    return Policy(name=name, description=description, api_key_auth=ApiKeyAuth())


async def test_write_read_delete(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client:
        answer = await client.apply([upsert(policy("a")), upsert(policy("b"))], author="me", set_name="s")
        assert [result.outcome for result in answer.results] == [ChangeResult.OUTCOME_CREATED] * 2
        stored = await client.get(KIND_POLICY, "a")
        assert (stored.resource.policy, stored.author, stored.set) == (policy("a"), "me", "s")
        assert [unwrap(each.resource).name async for each in client.list(KIND_POLICY, page_size=1)] == ["a", "b"]
        assert await client.delete(KIND_POLICY, "a", etag=stored.etag) == 2
        with pytest.raises(NotFoundError):
            await client.get(KIND_POLICY, "a")
        resources, revision = await client.snapshot()
        assert ([unwrap(each.resource).name for each in resources], revision) == (["b"], 2)


async def test_conditions(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client:
        await client.apply([upsert(policy("a"), must_not_exist=True)])
        with pytest.raises(AlreadyExistsError):
            await client.apply([upsert(policy("a"), must_not_exist=True)])
        with pytest.raises(AbortedError):
            await client.apply([upsert(policy("a", "new"), etag="of another state")])
        with pytest.raises(AbortedError):
            await client.apply([upsert(policy("a", "new"))], base_revision=0)
        with pytest.raises(NotFoundError):
            await client.apply([deletion(KIND_POLICY, "never was")])
        with pytest.raises(NotFoundError):
            await client.rollout(99)


async def test_violations_have_the_path_of_their_field(config_server: ConfigServer) -> None:
    dangling = Route(name="r", backends=[Backend(service="nowhere")])
    async with ConfigClient(config_server.address) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.apply([upsert(policy("a")), upsert(dangling)])
        (violation,) = caught.value.violations
        assert violation.field == "changes[1].upsert.route.backends[0].service"
        assert violation.reason == caught.value.reason == "UNRESOLVED_REFERENCE"
        await client.apply([upsert(policy("keys"))])
        with pytest.raises(InvalidArgumentError):
            await client.apply([upsert(Policy(name="NOT A NAME"))])
        assert (await client.nodes()).revision == 1


async def test_what_is_in_use_is_not_deleted(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client:
        pool = Upstream(name="pool", endpoints=[Endpoint(address="127.0.0.1:9")])
        llm = Service(name="llm", upstream_service=UpstreamService(upstream="pool"))
        await client.apply([upsert(pool), upsert(llm)])
        with pytest.raises(FailedPreconditionError) as caught:
            await client.delete(KIND_UPSTREAM, "pool")
        (violation,) = caught.value.violations
        assert (violation.field, violation.reason) == ("service llm", "UNRESOLVED_REFERENCE")


async def test_the_same_request_id_writes_once(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client:
        first = await client.apply([upsert(policy("a"))], request_id="once")
        await client.delete(KIND_POLICY, "a")
        assert await client.apply([upsert(policy("a"))], request_id="once") == first
        with pytest.raises(NotFoundError):
            await client.get(KIND_POLICY, "a")
        with pytest.raises(AlreadyExistsError):
            await client.apply([upsert(policy("b"))], request_id="once")


async def test_a_watch_outlives_the_server_without_gap_or_duplicate(config_server: ConfigServer) -> None:
    seen: list[str] = []
    settled = asyncio.Event()

    async def watch() -> None:
        async with ConfigClient(config_server.address) as client, aclosing(client.watch(KIND_POLICY)) as batches:
            async for batch in batches:
                for event in batch.events:
                    name = event.resource.resource.policy.name
                    seen.append(f"{ResourceEvent.Type.Name(event.type).removeprefix('TYPE_')} {name}".strip())
                if "ADDED last" in seen or seen[-1:] == ["BOOKMARK"]:
                    settled.set()

    async with ConfigClient(config_server.address) as client:
        await client.apply([upsert(policy("a"))])
        watching = asyncio.create_task(watch())
        await asyncio.wait_for(settled.wait(), LONG)
        settled.clear()
        await client.apply([upsert(policy("b"))])
        await config_server.kill()
        await config_server.restart()
        await client.apply([upsert(policy("b", "changed")), deletion(KIND_POLICY, "a")])
        await config_server.stop()
        await config_server.restart()
        await client.apply([upsert(policy("last"))])
        await asyncio.wait_for(settled.wait(), LONG)
        watching.cancel()
    changes = [each for each in seen if each != "BOOKMARK"]
    assert changes[:2] == ["ADDED a", "ADDED b"]
    assert sorted(changes[2:4]) == ["DELETED a", "MODIFIED b"]
    assert changes[4:] == ["ADDED last"]


async def test_a_revision_that_never_was_cannot_be_resumed(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client, aclosing(client.watch(after_revision=99)) as batches:
        with pytest.raises(OutOfRangeError):
            await anext(batches)


async def test_the_kind_of_a_watch_is_a_filter(config_server: ConfigServer) -> None:
    async with ConfigClient(config_server.address) as client:
        await client.apply([upsert(policy("a"))])
        async with aclosing(client.watch(KIND_ROUTE)) as batches:
            first = await anext(batches)
        assert [event.type for event in first.events] == [ResourceEvent.TYPE_BOOKMARK]
        assert first.revision == 1
