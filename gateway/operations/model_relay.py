"""OpenAI's operations that no other family has alike (pictures, sound, moderation, files, batches): passed through to
services that speak OpenAI's API, under the model's name there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gateway.config.snapshot import RouteConfig
from gateway.context import RequestContext
from gateway.errors import InvalidRequestError
from gateway.operations.http_proxy import HttpProxyInbound, HttpProxyRequest, read_held, uncompressed
from gateway.operations.inference import unsupported_by_service
from gateway.operations.replay import OutgoingBody, ReplayableParts, SplicedParts, WholeBody
from gateway.plan import BackendPlan
from gateway.providers.pass_through import ClientSide
from gateway.schemas.multipart_form import FormReader
from gateway.schemas.openai.fields import UNREADABLE, head_decoder, set_request_model, without_duplicate_model
from gateway.schemas.table import OPENAI_EMBEDDINGS
from gateway.transport.http import HttpResponse
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.status_errors import reset, status_error


class RelayedPayload(Protocol):
    """A request's body, and the model it names: empty if it names none."""

    @property
    def model(self) -> str: ...

    def for_model(self, model: str) -> tuple[OutgoingBody | None, int]:
        """The body that names this model, unless that is empty, and by how many bytes it is longer."""


class _Head(msgspec.Struct):
    model: str | None = None


_head_decoder = head_decoder(_Head)


class JsonPayload:
    """A JSON object. Raises `InvalidRequestError` for what is none, or whose `model` is no name."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        try:
            model = _head_decoder.decode(data).model
        except msgspec.ValidationError as error:
            param = "model" if "$.model" in str(error) else None
            raise InvalidRequestError(str(error), param=param) from None
        except UNREADABLE as error:
            raise InvalidRequestError(f"the body is not valid JSON: {error}", reason="INVALID_JSON") from None
        if model == "":
            raise InvalidRequestError("model is empty", param="model")
        self.model = model or ""

    def for_model(self, model: str) -> tuple[OutgoingBody, int]:
        """See `RelayedPayload`."""
        data = self._data
        if model:
            rename = without_duplicate_model if model == self.model else set_request_model
            data = rename(data, model)
        return WholeBody(data), len(data) - len(self._data)


class FormPayload:
    """A form, of which `body` has been read at least until its model was there."""

    def __init__(self, body: ReplayableParts, form: FormReader) -> None:
        self._body = body
        self._form = form
        self.model = form.model or ""

    def for_model(self, model: str) -> tuple[OutgoingBody, int]:
        """See `RelayedPayload`."""
        if model == self.model:
            return self._body, 0
        splice = self._form.with_model(model)
        return SplicedParts(self._body, splice), splice.growth


@dataclass(frozen=True, slots=True)
class UnreadPayload:
    """A body, if there is one, that is not looked into."""

    body: ReplayableParts | None
    model: str = ""

    def for_model(self, model: str) -> tuple[OutgoingBody | None, int]:
        """See `RelayedPayload`; it stays as it is."""
        return self.body, 0


class ModelRelayInbound(HttpProxyInbound):
    """A request of these operations for whatever backend its route names.

    Unlike one at any other path it is answered uncompressed, so that usage can be read, and a backend's failure is an
    error of the node's: a provider that refuses the node's credential has not refused the caller's.
    """

    def __init__(
        self,
        route: RouteConfig,
        *,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        client: ClientSide,
        payload: RelayedPayload,
    ) -> None:
        super().__init__(route, path=path, headers=headers, client=client, body=None)
        self._payload = payload
        self.rename_model_to: str | None = None

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> HttpProxyRequest:
        """The request with the path, the headers and the model that the backend is to see."""
        if not backend.family.is_openai:
            raise unsupported_by_service(context, backend)
        asked = self._payload.model
        model = backend.upstream_model(asked)
        body, growth = self._payload.for_model(model)
        self.rename_model_to = asked if asked and model != asked else None
        return self._request(
            context,
            backend,
            cluster,
            deadline,
            headers=_headers(self._headers, growth),
            body=body,
            is_safe_to_repeat=context.is_inference,
            hold=_hold,
        )


def _headers(inbound: Sequence[tuple[bytes, bytes]], growth: int) -> list[tuple[bytes, bytes]]:
    if growth:
        inbound = [
            (name, b"%d" % (int(value) + growth) if name == b"content-length" else value) for name, value in inbound
        ]
    return uncompressed(inbound)


async def _hold(response: HttpResponse, _: Lease) -> bytes:
    """Raises for everything but success. JSON is read whole, so that a broken answer can be asked for again, unless
    there is too much of it; of other answers nothing is held."""
    if not 200 <= response.status < 300:
        raise await status_error(response, OPENAI_EMBEDDINGS)
    if (response.header("content-encoding") or "identity").lower() != "identity":
        raise reset("the upstream compressed its answer although it was asked not to")
    if (response.header("content-type") or "").lower().startswith("application/json"):
        return await read_held(response)
    return b""
