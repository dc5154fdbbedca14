"""Which configuration of a probe becomes which check. A new kind is one file and one line here."""

from typing import assert_never

from gateway.config.upstream import (
    GrpcProbe,
    HttpProbe,
    OpenInferenceProbe,
    TcpProbe,
)
from gateway.config.upstream import (
    Probe as ProbeConfig,
)
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.probes.grpc import GrpcCheck
from gateway.upstream.probes.http import HttpCheck
from gateway.upstream.probes.open_inference import OpenInferenceGrpcCheck, OpenInferenceRestCheck
from gateway.upstream.probes.probe import Probe
from gateway.upstream.probes.tcp import TcpCheck


def make_probe(config: ProbeConfig, endpoint: Endpoint, connections: Connections) -> Probe:
    """The check of one endpoint."""
    match config:
        case HttpProbe():
            return HttpCheck(config, endpoint, connections)
        case GrpcProbe():
            return GrpcCheck(config, endpoint, connections)
        case TcpProbe():
            return TcpCheck(endpoint)
        case OpenInferenceProbe():
            if connections.speaks_grpc:
                return OpenInferenceGrpcCheck(config, endpoint, connections)
            return OpenInferenceRestCheck(config, endpoint, connections)
        case _:
            assert_never(config)
