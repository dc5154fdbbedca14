"""How errors look in each dialect: as a whole answer, and as the last event of a stream."""

from dataclasses import replace

import msgspec

from gateway.errors import GatewayError, UpstreamRejectedError
from gateway.framing.aws_event_stream import encode_frame
from gateway.framing.sse import encode_event
from gateway.listeners.errors import (
    GRPC_STATUS,
    HTTP_STATUS,
    ErrorAnswer,
    error_headers,
    openai_error,
    openai_error_body,
)
from gateway.listeners.http_exchange import ErrorFormat
from gateway.schemas.anthropic import errors as anthropic_errors
from gateway.schemas.bedrock import errors as bedrock_errors

_JSON = b"application/json"


class OpenAIErrors:
    """Errors as OpenAI writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"error": {…}}`."""
        return openai_error(error)

    def event(self, error: GatewayError) -> bytes:
        """The same as an event named `error`."""
        return encode_event(openai_error_body(error), "error")


class AnthropicErrors:
    """Errors as Anthropic writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"type": "error", "error": {…}}`."""
        shown = _as_refused(error, "anthropic")
        return shown or _json(error, anthropic_errors.error_body(error.code, error.message))

    def event(self, error: GatewayError) -> bytes:
        """The same as an event named `error`."""
        return anthropic_errors.error_event(error.code, error.message)


class GeminiErrors:
    """Errors as Google's APIs write them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"error": {"code", "message", "status", "details"}}`."""
        return _as_refused(error, "gemini") or _json(error, _google_body(error))

    def event(self, error: GatewayError) -> bytes:
        """The same as an event of the stream."""
        return encode_event(_google_body(error))


class CohereErrors:
    """Errors as Cohere writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"message": "…"}`."""
        return _as_refused(error, "cohere") or _json(error, _message(error))

    def event(self, error: GatewayError) -> bytes:
        """The end of the message, with the error as the reason for it."""
        delta = {"finish_reason": "ERROR", "error": error.message}
        return encode_event(msgspec.json.encode({"type": "message-end", "delta": delta}), "message-end")


class OllamaErrors:
    """Errors as Ollama writes them."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"error": "…"}`."""
        return _as_refused(error, "ollama") or _json(error, msgspec.json.encode({"error": error.message}))

    def event(self, error: GatewayError) -> bytes:
        """The same as a line of the stream."""
        return msgspec.json.encode({"error": error.message}) + b"\n"


class BedrockErrors:
    """Errors as Bedrock writes them, with their kind in a header, or in that of a frame."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """`{"message": "…"}`."""
        answer = _as_refused(error, "bedrock") or _json(error, _message(error))
        kind = bedrock_errors.error_kind(error.code, answer.status).encode()
        return replace(answer, headers=(*answer.headers, (b"x-amzn-errortype", kind)))

    def event(self, error: GatewayError) -> bytes:
        """The same as the last frame of a stream."""
        return encode_frame(_message(error), bedrock_errors.event_kind(error.code))


class EventErrors:
    """Errors of a dialect for what may be no stream of events. In others, sound above all, none has a place once they
    have begun: the body is cut short."""

    def __init__(self, errors: ErrorFormat) -> None:
        self._errors = errors
        self.is_event_stream = False

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """The error as a whole answer."""
        return self._errors.answer(error)

    def event(self, error: GatewayError) -> bytes | None:
        """The error as the last event of a stream of events."""
        return self._errors.event(error) if self.is_event_stream else None


def _message(error: GatewayError) -> bytes:
    return msgspec.json.encode({"message": error.message})


def _as_refused(error: GatewayError, family: str) -> ErrorAnswer | None:
    """What a backend of the caller's own family refused is shown as the backend wrote it."""
    if isinstance(error, UpstreamRejectedError) and error.body is not None and error.family == family:
        return ErrorAnswer(error.status, error.content_type.encode("ascii", "replace"), error.body)
    return None


def _json(error: GatewayError, body: bytes) -> ErrorAnswer:
    return ErrorAnswer(HTTP_STATUS[error.code], _JSON, body, error_headers(error))


def _google_body(error: GatewayError) -> bytes:
    status = GRPC_STATUS[error.code].name  # Google's names are those of gRPC
    details = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.reason, "domain": "janua"}
    fields = {
        "code": HTTP_STATUS[error.code],
        "message": error.message,
        "status": status,
        "details": [details],
    }
    return msgspec.json.encode({"error": fields})


OPENAI_ERRORS: ErrorFormat = OpenAIErrors()
ANTHROPIC_ERRORS: ErrorFormat = AnthropicErrors()
GEMINI_ERRORS: ErrorFormat = GeminiErrors()
COHERE_ERRORS: ErrorFormat = CohereErrors()
OLLAMA_ERRORS: ErrorFormat = OllamaErrors()
BEDROCK_ERRORS: ErrorFormat = BedrockErrors()
