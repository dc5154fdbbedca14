"""Bedrock's own operations on models (`InvokeModel`, Converse), where a path leads to a service that speaks them:
passed through, and accounted for like other requests for models."""

from gateway.context import RequestContext
from gateway.framing.aws_event_stream import AwsEventStreamParser
from gateway.framing.framing import AWS_EVENT_STREAM
from gateway.listeners.disconnect import Scope
from gateway.listeners.error_formats import BEDROCK_ERRORS, EventErrors
from gateway.listeners.http_exchange import AnswerSink, HttpExchange, check_not_compressed
from gateway.listeners.http_proxy import HttpProxyListener, client_side, passed_through_headers
from gateway.listeners.request_body import RequestBody
from gateway.listeners.service import GatewayService
from gateway.operations.http_proxy import HttpProxyInbound, ProxyAnswer, rewritten_path
from gateway.operations.invocation import InvocationInbound
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.schemas.bedrock.invocation import InvocationPath, StreamUsage, read_path, read_usage
from gateway.schemas.bedrock.wire import is_exception
from gateway.types import Operation, Schema
from gateway.upstream.answer import UpstreamStreamError


def find_invocation(context: RequestContext, plan: RoutePlan) -> InvocationPath | None:
    """What is asked of a model of Bedrock's, if that is what the route makes of the request; None for any other."""
    asked = read_path(rewritten_path(plan.route, context.raw_path)) if context.method == "POST" else None
    if asked is None or all(each.service.schema is not Schema.BEDROCK for each in plan.backends.values()):
        return None
    return asked


class InvocationListener(HttpProxyListener):
    """Handles one request."""

    def __init__(
        self,
        service: GatewayService,
        pipeline: Pipeline,
        plan: RoutePlan,
        scope: Scope,
        asked: InvocationPath,
        *,
        max_body_bytes: int,
    ) -> None:
        super().__init__(service, pipeline, plan, scope)
        self.errors = self._events = EventErrors(BEDROCK_ERRORS)
        self._asked = asked
        self._max_body_bytes = max_body_bytes

    async def handle(self, exchange: HttpExchange) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        context.operation = Operation.INVOCATION
        context.model = self._asked.model
        context.is_streaming = self._asked.is_streaming
        await super().handle(exchange)

    async def _inbound(self, context: RequestContext, path: str, body: RequestBody) -> HttpProxyInbound:
        check_not_compressed(context)
        return InvocationInbound(
            self._plan.route,
            asked=self._asked,
            path=path,
            headers=self._scope["headers"],
            client=client_side(context, self._scope),
            body=await body.read_whole(context.headers, self._max_body_bytes),
        )

    async def _relay(self, exchange: AnswerSink, answer: ProxyAnswer) -> None:
        """Sends the answer, all but the end: of a stream whole events only, so that an error can follow them."""
        told = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        if not told.get("content-type", "").lower().startswith(AWS_EVENT_STREAM.content_type):
            exchange.context.usage = read_usage(answer.first, told)
            await super()._relay(exchange, answer)
            return
        self._events.is_event_stream = True
        headers = [*passed_through_headers(answer.headers), (b"x-accel-buffering", b"no")]
        await exchange.start_stream(answer.status, headers)
        parser, usage = AwsEventStreamParser(), StreamUsage()
        try:
            data = answer.first
            while data:
                whole = []
                for event in parser.feed(data):
                    usage.feed(event)
                    whole.append(event.raw)
                    if is_exception(event.event):
                        await exchange.send_part(b"".join(whole))
                        raise UpstreamStreamError(answer.rest.cut(event.event).message)
                if whole:
                    await exchange.send_part(b"".join(whole))
                data = await answer.rest.read()
            if parser.pending:
                raise answer.rest.cut("it ends amid an event")
        finally:
            exchange.context.usage = usage.usage
