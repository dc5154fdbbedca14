"""The subscriber and the reporter against a real config server, as a process of its own."""

from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
from janua.config.v1.config_service_pb2 import NodeRollout
from janua.config.v1.resource_pb2 import KIND_ROUTE
from janua.config.v1.service_pb2 import Service
from janua_client.config_client import ConfigClient

from gateway.config.resources import (
    CONSUMER,
    POLICY,
    RESOURCE_TYPES,
    ROUTE,
    SECRET,
    SERVICE,
    UPSTREAM,
    ListenerAddresses,
    NodeStatusReport,
)
from gateway.config.status_reporter import StatusReporter
from gateway.config.subscriber import Subscriber
from tests.gateway.config.recording_sink import NODE, RecordingSink, Update, running
from tests.integration.configuration import changes
from tests.support.polling import eventually
from tests.support.processes import ConfigServer

_CONFIGURATION: dict[str, list[dict[str, Any]]] = {
    "secrets": [{"name": "openai", "env": "OPENAI_API_KEY"}, {"name": "unused", "env": "OTHER_KEY"}],
    "upstreams": [{"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}],
    "services": [
        {"name": "local", "upstream_service": {"upstream": "pool"}},
        {"name": "remote", "proxy_service": {"provider": "openai", "credentials": [{"secret": "openai"}]}},
    ],
    "policies": [{"name": "keys", "api_key_auth": {}}],
    "consumers": [{"name": "alice", "api_keys": [{"key_sha256": "0" * 64}]}],
    "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "local"}], "policies": ["keys"]}],
}
_HELD = {
    SECRET: {"openai"},
    UPSTREAM: {"pool"},
    POLICY: {"keys"},
    SERVICE: {"local", "remote"},
    CONSUMER: {"alice"},
    ROUTE: {"chat"},
}


class NamingSink(RecordingSink):
    """Names the secrets of the services that it has seen, as a node does."""

    def __init__(self) -> None:
        super().__init__()
        self.on_update = self._note_secrets

    def _note_secrets(self, update: Update) -> None:
        if update.type_url == SERVICE:
            for received in update.upserts:
                service = Service.FromString(received.value)
                self.secrets |= {credential.secret for credential in service.proxy_service.credentials}

    @property
    def names(self) -> dict[str, Collection[str]]:
        return {type_url: set(self.held[type_url]) for type_url in RESOURCE_TYPES if self.held[type_url]}

    async def holds(self, type_url: str, *names: str) -> None:
        async def is_held() -> bool:
            return set(names) <= set(self.held[type_url])

        await eventually(is_held)


@pytest.fixture
async def client(config_server: ConfigServer) -> AsyncIterator[ConfigClient]:
    async with ConfigClient(config_server.address) as client:
        yield client


@pytest.fixture
def sink() -> NamingSink:
    return NamingSink()


@pytest.fixture
async def subscriber(config_server: ConfigServer, sink: NamingSink) -> AsyncIterator[Subscriber]:
    async with running(Subscriber([config_server.address], NODE, sink)) as subscriber:
        yield subscriber


async def _is_synced(client: ConfigClient, revision: int) -> bool:
    rollout = await client.rollout(revision)
    return [node.state for node in rollout.nodes] == [NodeRollout.STATE_SYNCED]


async def test_a_configuration_is_synced_with_the_secrets_that_it_names(
    client: ConfigClient, config_server: ConfigServer, sink: NamingSink
) -> None:
    applied = await client.apply(changes(_CONFIGURATION))
    async with running(Subscriber([config_server.address], NODE, sink)):
        epoch, revision = await sink.next_sync()
        await sink.holds(SECRET, "openai")
        assert sink.names == _HELD
        assert epoch
        assert revision == applied.revision
        await eventually(lambda: _is_synced(client, applied.revision))


async def test_a_change_brings_what_has_changed_and_nothing_else(
    client: ConfigClient, subscriber: Subscriber, sink: NamingSink
) -> None:
    await sink.next_sync()
    await client.apply(changes(_CONFIGURATION))
    await sink.holds(SECRET, "openai")
    await sink.holds(ROUTE, "chat")
    before = len(sink.updates)
    more = [{"address": "127.0.0.1:9001"}, {"address": "127.0.0.1:9002"}]
    applied = await client.apply(changes({"upstreams": [{"name": "pool", "endpoints": more}]}))
    await eventually(lambda: _is_synced(client, applied.revision))
    (update,) = sink.updates[before:]
    assert (update.type_url, update.revision, update.removals) == (UPSTREAM, str(applied.revision), ())
    assert [received.name for received in update.upserts] == ["pool"]


async def test_a_refusal_reaches_the_server_and_so_does_its_end(
    client: ConfigClient, subscriber: Subscriber, sink: NamingSink
) -> None:
    await sink.next_sync()
    sink.refuse(UPSTREAM, "pool")
    applied = await client.apply(changes({"upstreams": _CONFIGURATION["upstreams"]}))

    async def is_refused() -> bool:
        (node,) = (await client.rollout(applied.revision)).nodes
        reasons = [(rejection.name, rejection.reason, rejection.field) for rejection in node.rejections]
        return reasons == [("pool", "INVALID_FIELD", "endpoints[0].address")]

    await eventually(is_refused)
    sink.refused.clear()
    subscriber.recover(UPSTREAM, ["pool"])
    await eventually(lambda: _is_synced(client, applied.revision))
    # The wildcard is as before: what comes later comes by itself.
    other = {"upstreams": [{"name": "other", "endpoints": [{"address": "127.0.0.1:9002"}]}]}
    await client.apply(changes(other))
    await sink.holds(UPSTREAM, "pool", "other")


async def test_rule_57_after_a_restart_of_the_server_nothing_is_sent_again(
    client: ConfigClient, config_server: ConfigServer, subscriber: Subscriber, sink: NamingSink
) -> None:
    await sink.next_sync()
    applied = await client.apply(changes(_CONFIGURATION))
    await sink.holds(SECRET, "openai")
    await sink.holds(ROUTE, "chat")
    await eventually(lambda: _is_synced(client, applied.revision))
    before = len(sink.updates)
    await config_server.kill()
    await config_server.restart()
    _, revision = await sink.next_sync()
    assert revision == applied.revision
    assert len(sink.updates) == before
    assert sink.names == _HELD


async def test_what_was_deleted_while_the_node_was_away_is_removed(
    client: ConfigClient, config_server: ConfigServer, sink: NamingSink
) -> None:
    await client.apply(changes(_CONFIGURATION))
    async with running(Subscriber([config_server.address], NODE, sink)):
        await sink.next_sync()
        await sink.holds(SECRET, "openai")
    await client.delete(KIND_ROUTE, "chat")
    async with running(Subscriber([config_server.address], NODE, sink)):
        await sink.next_sync()
    assert sink.names == {type_url: names for type_url, names in _HELD.items() if type_url != ROUTE}


async def test_reports_reach_the_server(client: ConfigClient, subscriber: Subscriber) -> None:
    report = NodeStatusReport(
        addresses=ListenerAddresses(http="127.0.0.1:8080"),
        ready=True,
        draining=True,
        active_requests=3,
        requests=9,
        failed_requests=2,
    )
    assert await subscriber.next_stream(0) == 1
    assert await StatusReporter(NODE.id, subscriber, lambda: report).report_now(10)
    (node,) = (await client.nodes()).nodes
    assert (node.id, node.cluster, node.version, node.connected) == ("node-1", "edge", "1.2.3", True)
    assert (node.status.addresses.http, node.status.draining) == ("127.0.0.1:8080", True)
    assert node.status.active_requests == 3
    assert (node.status.requests, node.status.failed_requests) == (9, 2)
