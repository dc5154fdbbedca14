"""The Open Inference Protocol over REST: what is asked of a model goes to a backend, what is asked of a server is
answered by the node itself."""

import time

import msgspec

from gateway.context import RequestContext
from gateway.errors import GatewayError, MethodNotAllowedError, UpstreamRejectedError
from gateway.listeners.cached import CachedCall
from gateway.listeners.cached_http import answer_cached
from gateway.listeners.disconnect import CancelOnDisconnect
from gateway.listeners.errors import HTTP_STATUS, ErrorAnswer, error_headers
from gateway.listeners.http_exchange import AnswerSink, HttpExchange, relayed_headers
from gateway.listeners.server_metadata import server_metadata
from gateway.listeners.service import GatewayService
from gateway.operations.open_inference import OpenInferenceInbound, Translation, invalid_request
from gateway.operations.open_inference_infer import RestInfer
from gateway.operations.open_inference_model import RestMetadata, RestReady
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.response_cache.request_key import headers_to_show, seen_headers
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.paths import ModelAction, ModelPath, ServerAction
from gateway.schemas.open_inference.rest import HEADER_LENGTH, check_request, read_header_length
from gateway.schemas.open_inference.rest_metadata import encode_server_metadata, error_body, is_error
from gateway.upstream.answer import UnaryAnswer

_JSON = b"application/json"


class OpenInferenceErrors:
    """Errors as this protocol writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"error": "…"}`. What a backend refused has its status, and its body if that is such an error."""
        if not isinstance(error, UpstreamRejectedError):
            return ErrorAnswer(HTTP_STATUS[error.code], _JSON, error_body(error.message), error_headers(error))
        if error.body is not None and is_error(error.body):
            return ErrorAnswer(error.status, error.content_type.encode("ascii", "replace"), error.body)
        return ErrorAnswer(error.status, _JSON, error_body(error.message))

    def event(self, error: GatewayError) -> bytes | None:
        """Nothing is streamed."""
        return None


class OpenInferenceRestListener:
    """Handles the requests whose paths are the protocol's: see `match_path`."""

    errors = OpenInferenceErrors()

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._metadata = encode_server_metadata(server_metadata())

    async def handle(self, exchange: HttpExchange, target: ModelPath | ServerAction) -> None:
        """One request, up to the end of its answer."""
        context = exchange.context
        method = target.action.http_method if isinstance(target, ModelPath) else "GET"
        if context.method != method:
            exchange.end_after_body()
            text = f"{context.path} takes {method}, not {context.method}"
            raise MethodNotAllowedError(text, allowed=[method])
        body = await exchange.read_body()
        if isinstance(target, ServerAction):
            status, own = self._about_server(target)
            await exchange.answer(status, [(b"content-type", _JSON)], own)
            return
        call = _translation(context, target, body)
        context.model = call.model
        pipeline = self._service.pin()
        plan = await pipeline.route(context)
        inbound = OpenInferenceInbound(call, tuple(context.headers.items()))
        async with CancelOnDisconnect(exchange.receive):
            if plan.cache is not None and call.action is not ModelAction.READY:
                await answer_cached(exchange, self._cached(pipeline, plan, call, exchange, body), _write)
                return
            answer = await pipeline.call(context, plan, inbound)
            context.first_content_at = time.perf_counter()
            await _write(exchange, answer)

    def _cached(
        self, pipeline: Pipeline, plan: RoutePlan, call: Translation[UnaryAnswer], exchange: HttpExchange, body: bytes
    ) -> CachedCall[UnaryAnswer]:
        context = exchange.context
        length = context.headers.get(HEADER_LENGTH.encode(), b"")
        return CachedCall(
            self._service,
            pipeline,
            plan,
            OpenInferenceInbound(
                call,
                tuple(headers_to_show(seen_headers(context.headers), context.headers).items()),
                b"%d:%b%b" % (len(length), length, body),
            ),
            form=f"{call.action.name} {call.version}",
        )

    def _about_server(self, action: ServerAction) -> tuple[int, bytes]:
        match action:
            case ServerAction.METADATA:
                return 200, self._metadata
            case ServerAction.LIVE:
                return 200, msgspec.json.encode({"live": True})
            case ServerAction.READY:
                is_ready = self._service.is_ready
                return 200 if is_ready else 503, msgspec.json.encode({"ready": is_ready})


async def _write(sink: AnswerSink, answer: UnaryAnswer) -> None:
    await sink.answer(answer.status, relayed_headers(answer.headers), answer.body)


def _translation(context: RequestContext, target: ModelPath, body: bytes) -> Translation[UnaryAnswer]:
    """What is asked of the model. Raises `InvalidRequestError`."""
    try:
        model, version = target.names()
        match target.action:
            case ModelAction.READY:
                return RestReady(model=model, version=version)
            case ModelAction.METADATA:
                return RestMetadata(model=model, version=version)
            case ModelAction.INFER:
                length = read_header_length(context.headers.get(HEADER_LENGTH.encode()))
                check_request(body, length)
                return RestInfer(model=model, version=version, body=body, header_length=length)
    except MalformedTensorError as error:
        raise invalid_request(error) from error
