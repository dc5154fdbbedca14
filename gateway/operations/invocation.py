"""Requests for models of Bedrock's in its own words (`InvokeModel`, Converse): passed through as they are, under the
model's name there, with their tokens counted."""

from collections.abc import Sequence

from gateway.config.snapshot import RouteConfig
from gateway.context import RequestContext
from gateway.framing.framing import AWS_EVENT_STREAM
from gateway.operations.http_proxy import HttpProxyInbound, HttpProxyRequest, read_held, uncompressed
from gateway.operations.inference import unsupported_by_service
from gateway.operations.replay import WholeBody
from gateway.plan import BackendPlan
from gateway.providers.pass_through import ClientSide
from gateway.schemas.bedrock.invocation import BEDROCK_INVOCATION, NAME, InvocationPath
from gateway.schemas.max_output import max_output_tokens
from gateway.schemas.prompt_size import estimated_tokens
from gateway.transport.http import HttpResponse
from gateway.types import Demand, Schema
from gateway.upstream.cluster import Cluster
from gateway.upstream.http_inference import read_first_content
from gateway.upstream.lease import Lease
from gateway.upstream.status_errors import reset, status_error


class InvocationInbound(HttpProxyInbound):
    """Such a request, whose body is there, for whatever backend of Bedrock's its route names.

    Unlike one at any other path it is answered uncompressed, so that usage can be read, and a backend's failure is an
    error of the node's: a provider that refuses the node's credential has not refused the caller's.
    """

    def __init__(
        self,
        route: RouteConfig,
        *,
        asked: InvocationPath,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        client: ClientSide,
        body: bytes,
    ) -> None:
        super().__init__(route, path=path, headers=headers, client=client, body=None)
        self._asked = asked
        self._data = body

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpProxyRequest:
        """The request with the path and the headers that the backend is to see."""
        if backend.service.schema is not Schema.BEDROCK:
            raise unsupported_by_service(context, backend)
        asked = self._asked
        model = backend.upstream_model(asked.model)
        return self._request(
            context,
            backend,
            cluster,
            deadline,
            path=asked.path if model == asked.model else asked.for_model(model),
            headers=uncompressed(self._headers),
            body=WholeBody(self._data),
            headers_timeout_s=backend.first_content_timeout_s(is_streaming=asked.is_streaming),
            is_safe_to_repeat=True,
            hold=_hold,
        )

    def demand(self) -> Demand:
        """By the size of the body, and the most that it asks for."""
        return Demand(input_tokens=estimated_tokens(self._data), output_tokens=max_output_tokens(NAME, self._data))


async def _hold(response: HttpResponse, _: Lease) -> bytes:
    """Raises for everything but success. A whole answer is read, unless it is too large; of a stream its beginning,
    which may be an error."""
    if not 200 <= response.status < 300:
        raise await status_error(response, BEDROCK_INVOCATION)
    if (response.header("content-encoding") or "identity").lower() != "identity":
        raise reset("the upstream compressed its answer although it was asked not to")
    content_type = (response.header("content-type") or "").lower()
    if content_type.startswith("text/html"):
        raise reset("the upstream's answer is a page of HTML")
    if not content_type.startswith(AWS_EVENT_STREAM.content_type):
        return await read_held(response)
    return await read_first_content(response, BEDROCK_INVOCATION)
