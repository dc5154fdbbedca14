"""OpenAI's operations that are passed through to services that speak its API: pictures, sound, moderation, files and
batches. Of the request only `model` is read, where it has one, and of the answer only its usage."""

import time

from gateway.errors import InvalidRequestError, MethodNotAllowedError, NotFoundError, PayloadTooLargeError
from gateway.listeners.disconnect import CancelOnDisconnect, Scope
from gateway.listeners.error_formats import OPENAI_ERRORS, EventErrors
from gateway.listeners.http_exchange import HttpExchange, check_not_compressed, relayed_headers
from gateway.listeners.http_proxy import checked_target, client_side
from gateway.listeners.request_body import RequestBody
from gateway.listeners.service import GatewayService
from gateway.listeners.sse import WholeEvents
from gateway.listeners.surfaces import RelayedSurface
from gateway.operations.http_proxy import MAX_HELD_BYTES, ProxyAnswer
from gateway.operations.model_relay import FormPayload, JsonPayload, ModelRelayInbound, RelayedPayload, UnreadPayload
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.schemas.multipart_form import FormReader, form_boundary
from gateway.schemas.openai.fields import replace_model
from gateway.schemas.openai.relayed_usage import UsageTail, read_relayed_usage

_JSON = "application/json"
_EVENTS = "text/event-stream"
_FORM = "multipart/form-data"


class ModelRelayListener:
    """Handles one request."""

    def __init__(self, service: GatewayService, surface: RelayedSurface, scope: Scope, *, max_body_bytes: int) -> None:
        self.errors = EventErrors(OPENAI_ERRORS)
        self._service = service
        self._surface = surface
        self._scope = scope
        self._max_body_bytes = max_body_bytes

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        body = RequestBody(exchange.receive)
        try:
            if context.method not in self._surface.methods:
                methods = " and ".join(sorted(self._surface.methods))
                text = f"{context.path} takes {methods}, not {context.method}"
                raise MethodNotAllowedError(text, allowed=tuple(self._surface.methods))
            path = checked_target(context)
            payload = await self._payload(exchange, body)
            context.model = payload.model
            context.body_size = lambda: body.size(context.headers)
            pipeline = self._service.pin()
            plan = await self._route(pipeline, exchange)
            body.max_bytes = plan.filters_for(context.consumer).max_body_bytes
            inbound = ModelRelayInbound(
                plan.route,
                path=path,
                headers=self._scope["headers"],
                client=client_side(context, self._scope),
                payload=payload,
            )
            async with CancelOnDisconnect(exchange.receive, after=body.ended):
                answer = await pipeline.call(context, plan, inbound)
                context.first_content_at = time.perf_counter()
                try:
                    await self._relay(exchange, answer, inbound.rename_model_to)
                finally:
                    answer.rest.close()
        finally:
            if not body.ended.is_set():
                exchange.end_after_body()
        await exchange.send_part(b"", is_last=True)

    async def _payload(self, exchange: HttpExchange, body: RequestBody) -> RelayedPayload:
        """The body, read as far as it takes to learn the model."""
        context = exchange.context
        is_http2 = self._scope["http_version"] == "2"
        if not self._surface.names_model:
            return UnreadPayload(await body.parts(context.method, context.headers, is_http2=is_http2))
        check_not_compressed(context)
        content_type = context.headers.get(b"content-type", b"").decode("latin-1")
        if not content_type.lower().startswith(_FORM):
            return JsonPayload(await body.read_whole(context.headers, self._max_body_bytes))
        form = _CheckedForm(body, FormReader(form_boundary(content_type)), self._max_body_bytes)
        parts = await body.parts(context.method, context.headers, is_http2=is_http2, read=form.read)
        if parts is None:
            raise InvalidRequestError("the form is empty")
        await parts.read_until(lambda: form.reader.model is not None)
        return FormPayload(parts, form.reader)

    async def _route(self, pipeline: Pipeline, exchange: HttpExchange) -> RoutePlan:
        context = exchange.context
        if context.model:
            return await pipeline.route(context)
        plan = pipeline.find_route(context)
        if plan is None:
            if self._surface.names_model:
                text = "no route takes a request without a model; GET /v1/models lists what is served"
                raise NotFoundError(text, reason="MODEL_NOT_FOUND", param="model")
            raise NotFoundError(f"nothing is served at {context.path}", reason="PATH_NOT_FOUND")
        await pipeline.admit(context, plan)
        return plan

    async def _relay(self, exchange: HttpExchange, answer: ProxyAnswer, rename_model_to: str | None) -> None:
        """Sends the answer, all but the end. Each read is one write, so that nothing waits for more."""
        context = exchange.context
        told = {name.lower(): value for name, value in answer.headers}
        content_type = told.get(b"content-type", b"").decode("latin-1").lower()
        is_json = content_type.startswith(_JSON)
        # Larger ones are pictures, which say nothing of their model.
        if is_json and len(answer.first) <= MAX_HELD_BYTES:
            context.usage = read_relayed_usage(answer.first)
            whole = answer.first if rename_model_to is None else replace_model(answer.first, rename_model_to)
            headers = [*relayed_headers(answer.headers), (b"content-length", b"%d" % len(whole))]
            await exchange.start_stream(answer.status, headers)
            await exchange.send_part(whole)
            return
        is_event_stream = content_type.startswith(_EVENTS)
        context.is_streaming = self.errors.is_event_stream = is_event_stream
        headers = relayed_headers(answer.headers)
        if is_event_stream:
            headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        elif b"content-length" in told:
            headers.append((b"content-length", told[b"content-length"]))
        await exchange.start_stream(answer.status, headers)
        relay = WholeEvents() if is_event_stream else None
        tail = UsageTail() if is_event_stream or is_json else None
        if not answer.first:
            await exchange.send_part(b"")  # the head must not wait for the body
        try:
            data = answer.first or await answer.rest.read()
            while data:
                if tail is not None:
                    tail.feed(data)
                if out := data if relay is None else relay.feed(data):
                    await exchange.send_part(out)
                data = await answer.rest.read()
            if relay is not None and (left := relay.finish()):
                await exchange.send_part(left)
        finally:
            if tail is not None:
                context.usage = tail.usage


class _CheckedForm:
    """A form that is read part by part: what has been read is what its reader has seen.

    Until its model is known it has to be held, so it may then be no longer than any other body.
    """

    def __init__(self, body: RequestBody, reader: FormReader, max_held_bytes: int) -> None:
        self.reader = reader
        self._body = body
        self._left = max_held_bytes

    async def read(self) -> bytes | None:
        """See `RequestBody.read`. Raises `InvalidRequestError` also for what is no form, `PayloadTooLargeError` if the
        model does not come."""
        part = await self._body.read()
        if part is None:
            self.reader.end()
            return None
        self.reader.feed(part)
        self._left -= len(part)
        if self.reader.model is None and self._left < 0:
            text = "the form is larger than the limit for bodies, and model is not at its beginning; send model first"
            raise PayloadTooLargeError(text, param="model")
        return part
