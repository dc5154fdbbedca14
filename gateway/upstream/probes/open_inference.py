"""Readiness of the Open Inference Protocol."""

from urllib.parse import quote

from yarl import URL

from gateway.config.upstream import OpenInferenceProbe
from gateway.schemas.readiness import MODEL_READY_METHOD, SERVER_READY_METHOD, encode_name
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.probes.grpc import ask_number
from gateway.upstream.probes.http import USER_AGENT, ask_status


class OpenInferenceRestCheck:
    """`GET /v2/health/ready`, or `/v2/models/MODEL/ready`."""

    def __init__(self, probe: OpenInferenceProbe, endpoint: Endpoint, connections: Connections) -> None:
        path = f"/v2/models/{quote(probe.model, safe='')}/ready" if probe.model else "/v2/health/ready"
        self.name = f"GET {path}"
        self._url: URL = endpoint.make_url(path)
        self._server_name = endpoint.server_name
        self._headers = [USER_AGENT, *([("host", endpoint.authority)] if endpoint.authority else [])]
        self._connections = connections

    async def ask(self, timeout_s: float) -> str | None:
        """One request."""
        status = await ask_status(self._connections, "GET", self._url, self._headers, timeout_s, self._server_name)
        return None if status == 200 else f"status {status}"


class OpenInferenceGrpcCheck:
    """`ServerReady`, or `ModelReady`."""

    def __init__(self, probe: OpenInferenceProbe, endpoint: Endpoint, connections: Connections) -> None:
        self.name = f"ModelReady {probe.model}" if probe.model else "ServerReady"
        self._method = MODEL_READY_METHOD if probe.model else SERVER_READY_METHOD
        self._request = encode_name(probe.model or "")
        self._endpoint = endpoint
        self._connections = connections

    async def ask(self, timeout_s: float) -> str | None:
        """One call."""
        ready = await ask_number(self._connections, self._endpoint, self._method, self._request, timeout_s)
        if isinstance(ready, str):
            return ready
        return None if ready else "not ready"
