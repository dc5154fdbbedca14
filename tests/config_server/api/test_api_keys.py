"""API keys that the server makes: beside consumers, on the wire in them, and never back once they are revoked."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.resource_pb2 import KIND_CONSUMER

from config_server import key_service
from tests.config_server.ads_client import AdsClient, ads_client
from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import CONSUMER, batch, consumer, delete, key

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture
async def server(filled: RunningServer) -> RunningServer:
    await filled.apply(consumer("c", keys=["a" * 64]))
    return filled


async def made(server: RunningServer, name: str = "c", **fields: Any) -> pb.CreateApiKeyResponse:
    return await server.config.CreateApiKey(pb.CreateApiKeyRequest(consumer=name, **fields))


async def revoked(server: RunningServer, key_id: str) -> pb.RevokeApiKeyResponse:
    return await server.config.RevokeApiKey(pb.RevokeApiKeyRequest(id=key_id))


async def listed(server: RunningServer, **fields: Any) -> list[pb.ApiKeyRecord]:
    answer = await server.config.ListApiKeys(pb.ListApiKeysRequest(**fields))
    return list(answer.records)


async def digests_on_nodes(server: RunningServer, node: AdsClient | None = None) -> list[str]:
    async with ads_client(server.channel, "fresh") as fresh:
        (resource,) = (await (node or fresh).ask(CONSUMER)).resources
    return [each.key_sha256 for each in Consumer.FromString(resource.resource.value).api_keys]


def in_future(**length: int) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(**length))
    return moment


async def test_a_key_is_made_listed_and_seen_by_nodes(server: RunningServer) -> None:
    answer = await made(server, label="laptop", author="bob")
    digest = sha256(answer.key.encode()).hexdigest()
    assert (answer.record.key_sha256, answer.record.id, answer.revision) == (digest, digest[:16], 3)
    assert await listed(server) == [answer.record]
    assert await digests_on_nodes(server) == ["a" * 64, digest]
    stored = await server.config.GetResource(pb.GetResourceRequest(key=key("consumer", "c")))
    assert stored.resource.resource.consumer == consumer("c", keys=["a" * 64])
    assert stored.resource.revision == 2
    (newest, *_) = (await server.config.ListRevisions(pb.ListRevisionsRequest())).revisions
    assert (newest.author, newest.message) == ("bob", f"key {digest[:16]} of c made")


async def test_nodes_are_told_at_once_of_new_and_revoked_keys(server: RunningServer) -> None:
    async with ads_client(server.channel) as node:
        await node.ask(CONSUMER)
        answer = await made(server)
        (resource,) = (await node.receive_and_ack()).resources
        assert len(Consumer.FromString(resource.resource.value).api_keys) == 2
        await revoked(server, answer.record.id)
        (after,) = (await node.receive_and_ack()).resources
        assert len(Consumer.FromString(after.resource.value).api_keys) == 1
        rollout = await server.config.GetRollout(pb.GetRolloutRequest())
        assert rollout.revision == 4
        assert after.version != resource.version


async def test_an_apply_and_a_rollback_leave_keys_alone(server: RunningServer) -> None:
    answer = await made(server)
    await server.apply(consumer("c", description="new"))
    assert await digests_on_nodes(server) == [answer.record.key_sha256]
    request = batch(consumer("d"))
    request.set, request.prune = "files", True
    request.prune_kinds.append(KIND_CONSUMER)
    await server.apply_request(request)
    await server.config.Rollback(pb.RollbackRequest(to_revision=2))
    assert await listed(server) == [answer.record]
    assert await digests_on_nodes(server) == ["a" * 64, answer.record.key_sha256]
    await revoked(server, answer.record.id)
    await server.config.Rollback(pb.RollbackRequest(to_revision=3))
    assert await listed(server) == []


async def test_watches_and_lists_show_no_keys(server: RunningServer) -> None:
    watch = server.config.WatchResources(pb.WatchResourcesRequest(after_revision=2))
    await made(server)
    await server.apply(consumer("d"))
    first = await watch.read()
    assert isinstance(first, pb.WatchResourcesResponse)
    assert [event.resource.resource.consumer.name for event in first.events] == ["d"]
    watch.cancel()
    page = await server.config.ListResources(pb.ListResourcesRequest())
    assert all(each.resource.WhichOneof("kind") for each in page.resources)


async def test_a_revoked_key_stays_revoked(server: RunningServer) -> None:
    answer = await made(server)
    first = await revoked(server, answer.record.id)
    again = await revoked(server, answer.record.id)
    assert (first.revision, again.revision) == (4, 4)
    assert again.record == first.record
    assert await listed(server) == []
    (record,) = await listed(server, include_revoked=True)
    assert record.HasField("revoke_time")


async def test_keys_go_with_their_consumer_and_do_not_come_back(server: RunningServer) -> None:
    answer = await made(server)
    await server.apply(delete("consumer", "c"))
    assert await listed(server) == []
    await server.apply(consumer("c"))
    assert await digests_on_nodes(server) == []
    (record,) = await listed(server, consumer="c", include_revoked=True)
    assert record.id == answer.record.id
    await server.config.Rollback(pb.RollbackRequest(to_revision=3))
    assert answer.record.key_sha256 not in await digests_on_nodes(server)


async def test_a_key_that_the_server_has_made_stands_in_no_file(server: RunningServer) -> None:
    answer = await made(server)
    digest = answer.record.key_sha256
    for name in ("c", "d"):
        refusal = await refused(server.config.Apply(batch(consumer(name, keys=["b" * 64, digest]))))
        assert refusal.code == INVALID
        assert refusal.texts == {
            "changes[0].upsert.consumer.api_keys[1].key_sha256": (
                "is a key that the server has made for consumer c, and keeps beside it: leave it out"
            )
        }
    await revoked(server, answer.record.id)
    refusal = await refused(server.config.Apply(batch(consumer("d", keys=[digest]))))
    assert list(refusal.texts.values()) == ["is a key that was revoked, which is never undone: make another"]


async def test_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(consumer("c"))
        answer = await made(server)
        version = await digests_on_nodes(server)
    async with running_server(path) as server:
        assert await listed(server) == [answer.record]
        assert await digests_on_nodes(server) == version == [answer.record.key_sha256]


async def test_others_can_be_made_to_expire(server: RunningServer) -> None:
    soon, late = in_future(hours=1), in_future(days=2)
    await made(server, label="soon", expires=soon)
    await made(server, label="never")
    await made(server, label="new", others_expire=late)
    found = {record.label: record for record in await listed(server)}
    assert found["soon"].expires == soon
    assert found["never"].expires == late
    assert not found["new"].HasField("expires")


async def test_what_cannot_be_made(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = await refused(server.config.CreateApiKey(pb.CreateApiKeyRequest(consumer="nobody")))
    assert (refusal.code, refusal.text) == (NOT_FOUND, "consumer nobody does not exist")
    refusal = await refused(server.config.CreateApiKey(pb.CreateApiKeyRequest()))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["consumer"])
    for field in ("expires", "others_expire"):
        for moment in (Timestamp(seconds=1), Timestamp(seconds=1 << 60)):
            request = pb.CreateApiKeyRequest(consumer="c")
            getattr(request, field).CopyFrom(moment)
            refusal = await refused(server.config.CreateApiKey(request))
            assert (refusal.code, list(refusal.fields)) == (INVALID, [field])
    monkeypatch.setattr(key_service, "MAX_KEYS", 1)
    await made(server)
    refusal = await refused(server.config.CreateApiKey(pb.CreateApiKeyRequest(consumer="c")))
    assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_cannot_be_revoked(server: RunningServer) -> None:
    refusal = await refused(server.config.RevokeApiKey(pb.RevokeApiKeyRequest(id="0" * 16)))
    assert (refusal.code, refusal.reason) == (NOT_FOUND, "KEY_NOT_FOUND")
    refusal = await refused(server.config.RevokeApiKey(pb.RevokeApiKeyRequest(id="a" * 64)))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["id"])
    refusal = await refused(server.config.ListApiKeys(pb.ListApiKeysRequest(consumer="nobody")))
    assert refusal.code == NOT_FOUND


async def test_many_writers_lose_no_key(server: RunningServer) -> None:
    answers = await asyncio.gather(*(made(server, label=str(number)) for number in range(20)))
    assert {record.id for record in await listed(server)} == {answer.record.id for answer in answers}
    assert sorted(answer.revision for answer in answers) == list(range(3, 23))
