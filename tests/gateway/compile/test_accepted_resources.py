"""What the rules accept is in use on a node, whatever it is: compiled without an exception, refused for nothing, and
made into clusters and routes that can be asked."""

import asyncio
import time
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from hypothesis import strategies as st
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua_resources import egress, field_rules, rules, world
from janua_resources.kinds import KINDS, ConfigMessage, KindInfo, World, kind_of
from janua_resources.violations import Violation, first_per_field

from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.snapshot import Snapshot
from gateway.filters.limits.state import LimitState
from gateway.filters.published_keys import KeyDirectory, KeyFetcher
from gateway.mirror import Mirrors
from gateway.pipeline import LiveState, Pipeline
from gateway.telemetry.metrics import Metrics
from gateway.upstream.call import Caller
from gateway.upstream.cluster_manager import ClusterManager
from gateway.upstream.probes.table import make_probe
from tests.gateway.compile.accepted_messages import accepted
from tests.gateway.compile.resources import message, received
from tests.gateway.transport.certificates import TestCertificates

CERTIFICATES = TestCertificates()
FILES = {"/ca.pem": CERTIFICATES.ca_pem, "/secret": "sk-1"}
AWS_KEY = '{"access_key_id": "AKIA", "secret_access_key": "sk-1"}'
ENVIRON = {"KEY": "sk-1", "AWS_KEY": AWS_KEY, "CERTIFICATE": CERTIFICATES.client_certificate().reveal()}

# What the resources name, in the order in which it can be used.
NAMED: Sequence[ConfigMessage] = (
    message("secret", "certificate", env="CERTIFICATE"),
    message("upstream", "u", endpoints=[{"address": "127.0.0.1:1"}]),
    message("upstream", "grpc", endpoints=[{"address": "127.0.0.1:1"}], protocol="PROTOCOL_GRPC"),
    message("policy", "p", api_key_auth={}),
    message("policy", "rule", authorization={"expression": "true"}),
    message("service", "v", upstream_service={"upstream": "grpc", "schema": "SCHEMA_PASSTHROUGH"}),
    message("service", "w", upstream_service={"upstream": "grpc", "schema": "SCHEMA_OPEN_INFERENCE"}),
)


def by_rules(found: ConfigMessage) -> Sequence[Violation]:
    return rules.check(found)


def by_server(found: ConfigMessage) -> Sequence[Violation]:
    return first_per_field([*field_rules.check_fields(found), *rules.check(found)])


ALL_KINDS = pytest.mark.parametrize("kind", KINDS, ids=[info.field for info in KINDS])


def credential_for(user: ConfigMessage) -> Secret:
    """A secret that may go where the service sends it."""
    secret = Secret(name="key", env="KEY")
    if isinstance(user, Service) and user.HasField("proxy_service"):
        secret.allowed_hosts.append(egress.base_address(user.proxy_service).host)
        if user.proxy_service.auth.HasField("aws_sigv4"):
            secret.env = "AWS_KEY"
    return secret


def table_with(*messages: ConfigMessage) -> ResourceTable:
    secrets = SecretReader(environ=ENVIRON, read_file=FILES.__getitem__)
    table = ResourceTable(secrets, has_shared_store=True, has_client_ca=True)
    for each in messages:
        resource = received(each)
        table.update(resource.type_url, [resource], ())
    return table


def whole(*messages: ConfigMessage) -> World:
    return {(kind_of(each).kind, each.name): each for each in messages}


@ALL_KINDS
def test_what_the_rules_accept_is_in_use(kind: KindInfo) -> None:
    @settings(deadline=None, suppress_health_check=list(Health), max_examples=50)
    @given(accepted(kind.message, by_rules))
    def check(resource: ConfigMessage) -> None:
        table = table_with(credential_for(resource), *NAMED, resource)
        assert table.all_rejections == []
        assert table.waiting(kind.type_url, ["x"]) == []
        assert "x" in getattr(table.snapshot(), kind.plural)

    check()


@settings(deadline=None, suppress_health_check=list(Health), max_examples=50)
@given(
    st.one_of([accepted(kind.message, by_server) for kind in KINDS if kind.field in ("upstream", "service", "route")])
)
def test_what_the_server_accepts_runs(resource: ConfigMessage) -> None:
    messages = (credential_for(resource), *NAMED, resource)
    if not world.check_world(whole(*messages)):
        asyncio.run(run(table_with(*messages).snapshot()))


async def run(snapshot: Snapshot) -> None:
    """Makes of a configuration all that a node makes of it before the first request."""
    manager = ClusterManager(random=Random(1))
    caller, keys = Caller(metrics=Metrics(), random=Random(1)), KeyDirectory(KeyFetcher(), time.monotonic)
    live = LiveState(manager, caller, Mirrors(), LimitState(metrics=Metrics()), keys)
    live.reconcile(snapshot)
    pipeline = Pipeline(snapshot, live)
    providers = {f"provider:{name}" for name, each in snapshot.services.items() if hasattr(each.target, "provider")}
    assert set(manager.clusters) == {*snapshot.upstreams, *providers}
    for cluster in manager.clusters.values():
        for key in (None, 1):
            picked = cluster.pick(key)
            assert picked is not None or not any(each.takes_requests for each in cluster.endpoints)
        for endpoint in cluster.endpoints:
            for check in cluster.config.health_checks:
                assert make_probe(check.probe, endpoint, cluster.connections).name
    assert len(manager.report()) == sum(len(cluster.endpoints) for cluster in manager.clusters.values())
    for route in snapshot.routes.values():
        pipeline.planner.plan(route).choice.choose(lambda _: True)
    for cluster in manager.clusters.values():
        await cluster.connections.close()
