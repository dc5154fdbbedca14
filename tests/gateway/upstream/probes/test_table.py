"""Each kind of probe becomes its check, which says in a few words what it asks."""

import asyncio

import pytest

from gateway.config.upstream import (
    EndpointConfig,
    GrpcProbe,
    HttpProbe,
    OpenInferenceProbe,
    Probe,
    TcpProbe,
    UpstreamConfig,
    UpstreamProtocol,
)
from gateway.upstream.cluster import utc_now
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.probes.table import make_probe

HTTP1, HTTP2, GRPC = UpstreamProtocol


@pytest.mark.parametrize(
    ("probe", "protocol", "name"),
    [
        (HttpProbe(path="/health?deep=1", method="HEAD"), HTTP1, "HEAD /health?deep=1"),
        (HttpProbe(path="/"), HTTP2, "GET /"),
        (GrpcProbe(), GRPC, "grpc health"),
        (GrpcProbe(service_name="a.B"), GRPC, "grpc health of a.B"),
        (TcpProbe(), HTTP1, "tcp"),
        (TcpProbe(), GRPC, "tcp"),
        (OpenInferenceProbe(), HTTP1, "GET /v2/health/ready"),
        (OpenInferenceProbe(model="a b"), HTTP2, "GET /v2/models/a%20b/ready"),
        (OpenInferenceProbe(), GRPC, "ServerReady"),
        (OpenInferenceProbe(model="a b"), GRPC, "ModelReady a b"),
    ],
)
async def test_a_probe_says_what_it_asks(probe: Probe, protocol: UpstreamProtocol, name: str) -> None:
    config = EndpointConfig(address="127.0.0.1:1", url="http://127.0.0.1:1")
    endpoint = Endpoint(config, since=utc_now(), clock=asyncio.get_running_loop().time)
    connections = Connections(UpstreamConfig(name="pool", endpoints=(config,), protocol=protocol))
    assert make_probe(probe, endpoint, connections).name == name
    await connections.close()
