"""TLS settings that change under load: what is in flight ends on the old connections, what follows takes new ones."""

from dataclasses import replace

import pytest
from yarl import URL

from gateway.config.upstream import EndpointConfig, TlsConfig
from gateway.transport.errors import ConnectError
from gateway.transport.messages import HttpResponse
from gateway.upstream import cluster_manager
from gateway.upstream.cluster import Cluster
from tests.gateway.transport.certificates import TestCertificates
from tests.gateway.upstream.clusters import pool
from tests.gateway.upstream.managers import SlowServer, managing, slow_server


@pytest.fixture(scope="module")
def certificates() -> TestCertificates:
    return TestCertificates()


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retired connections are closed without the second of grace."""
    monkeypatch.setattr(cluster_manager, "_RETIRE_GRACE_S", 0.0)


def secure(server: SlowServer) -> EndpointConfig:
    address = f"127.0.0.1:{server.port}"
    return EndpointConfig(address=address, url=f"https://{address}")


async def begin(cluster: Cluster) -> HttpResponse:
    endpoint = cluster.endpoints[0]
    return await cluster.connections.http.send(
        "GET",
        URL(f"{endpoint.config.url}/"),
        headers=[],
        body=None,
        connect_timeout_s=10,
        server_name=endpoint.server_name,
    )


async def test_a_request_in_flight_ends_and_the_next_takes_the_new_settings(certificates: TestCertificates) -> None:
    async with slow_server(certificates.server_context("127.0.0.1", "box.example")) as server:
        old = TlsConfig(ca_pem=certificates.ca_pem)
        config = pool(secure(server), tls=old, health_checks=())
        async with managing(config) as manager:
            cluster = manager.clusters["pool"]
            in_flight = await begin(cluster)
            server.permits.release()
            assert await in_flight.read() == b"first"

            manager.reconcile([replace(config, tls=replace(old, server_name="other.example"))])
            assert manager.clusters["pool"] is cluster
            with pytest.raises(ConnectError, match="certificate not accepted"):
                await begin(cluster)

            manager.reconcile([replace(config, tls=replace(old, server_name="box.example"))])
            following = await begin(cluster)
            assert server.open == 2
            for _ in range(3):
                server.permits.release()
            assert await in_flight.read() == b"last"
            assert await in_flight.read() == b""
            assert await following.read_all(100) == b"firstlast"
            in_flight.close()
            await server.until_open(1)
            following.close()


async def test_settings_that_cannot_be_used_leave_the_upstream_and_the_others_alone(
    certificates: TestCertificates,
) -> None:
    async with slow_server(certificates.server_context("127.0.0.1")) as server:
        config = pool(secure(server), tls=TlsConfig(ca_pem=certificates.ca_pem), health_checks=())
        other = replace(config, name="other")
        async with managing(config, other) as manager:
            bad = replace(config, tls=TlsConfig(ca_pem="nothing"))
            manager.reconcile([bad, replace(other, connect_timeout_s=9), replace(bad, name="new")])
            assert manager.clusters.keys() == {"pool", "other"}
            assert manager.clusters["pool"].config == config
            assert manager.clusters["other"].config.connect_timeout_s == 9
            server.permits.release()
            server.permits.release()
            answer = await begin(manager.clusters["pool"])
            assert await answer.read_all(100) == b"firstlast"
            answer.close()


async def test_an_endpoint_that_turns_to_tls_is_reached_over_tls(certificates: TestCertificates) -> None:
    async with slow_server(certificates.server_context("127.0.0.1")) as server:
        endpoint = secure(server)
        plain = replace(endpoint, url=endpoint.url.replace("https", "http"))
        async with managing(pool(plain, health_checks=())) as manager:
            cluster = manager.clusters["pool"]
            (kept,) = cluster.endpoints
            manager.reconcile([pool(endpoint, tls=TlsConfig(ca_pem=certificates.ca_pem), health_checks=())])
            assert cluster.endpoints == (kept,)
            assert kept.is_secure
            server.permits.release()
            server.permits.release()
            answer = await begin(cluster)
            assert await answer.read_all(100) == b"firstlast"
            answer.close()
