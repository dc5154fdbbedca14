"""A plain HTTP request."""

from collections.abc import Sequence

from yarl import URL

from gateway.config.upstream import HttpProbe
from gateway.transport.http import AnswerTooLargeError
from gateway.upstream.connections import Connections
from gateway.upstream.endpoint import Endpoint

USER_AGENT = ("user-agent", "janua-health-check")

# No more of the answer is read; the status is what counts.
_MAX_BODY_BYTES = 64 * 1024


class HttpCheck:
    """Whether a path answers with one of the statuses that are expected."""

    def __init__(self, probe: HttpProbe, endpoint: Endpoint, connections: Connections) -> None:
        self.name = f"{probe.method} {probe.path}"
        self._probe = probe
        self._connections = connections
        self._server_name = endpoint.server_name
        # The path is asked for as it is written, and the endpoint's base path is not put before it.
        self._url = URL(f"{endpoint.make_url('/').origin()}{probe.path}", encoded=True)
        host = probe.host or endpoint.authority
        self._headers = [USER_AGENT, *([("host", host)] if host else [])]

    async def ask(self, timeout_s: float) -> str | None:
        """One request."""
        status = await ask_status(
            self._connections, self._probe.method, self._url, self._headers, timeout_s, self._server_name
        )
        if any(start <= status <= end for start, end in self._probe.statuses):
            return None
        return f"status {status}"


async def ask_status(
    connections: Connections,
    method: str,
    url: URL,
    headers: Sequence[tuple[str, str]],
    timeout_s: float,
    server_name: str | None,
) -> int:
    """The status that a request is answered with."""
    response = await connections.http.send(
        method, url, headers=headers, body=None, connect_timeout_s=timeout_s, server_name=server_name
    )
    try:
        await response.read_all(_MAX_BODY_BYTES)
    except AnswerTooLargeError:
        pass  # its status is there
    finally:
        response.close()
    return response.status
