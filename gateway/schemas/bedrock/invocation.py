"""A model of Bedrock's asked in the form that its maker gave it (`InvokeModel`), or by Converse: the model in the path,
and the tokens that an answer tells. What is asked and answered is not understood. Pure."""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from gateway.framing.sse import ServerSentEvent
from gateway.schemas.anthropic.usage import UsageFields as AnthropicUsage
from gateway.schemas.bedrock.usage import UsageFields
from gateway.schemas.bedrock.wire import BedrockDialect
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.openai.fields import UsageFields as OpenAIUsage
from gateway.types import Usage

NAME: Final = "bedrock_invocation"

_PATH: Final = re.compile(r"/model/([^/]+)/(?:invoke|converse)(-with-response-stream|-stream)?")

_PART: Final = "chunk"

# Answers without usage of their own, and those of makers that tell less, have it here.
_HEADERS: Final[Mapping[str, str]] = {
    "x-amzn-bedrock-input-token-count": "inputTokens",
    "x-amzn-bedrock-output-token-count": "outputTokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
}


@dataclass(frozen=True, slots=True)
class InvocationPath:
    """The path of such a request, percent-encoded, and the model in it, decoded: a name or an ARN."""

    path: str
    model: str
    is_streaming: bool

    def for_model(self, model: str) -> str:
        """The path for another model."""
        operation = self.path.rpartition("/")[2]
        return f"/model/{quote(model, safe='')}/{operation}"


def read_path(path: str) -> InvocationPath | None:
    """What a percent-encoded path asks for; None if it is another."""
    found = _PATH.fullmatch(path)
    return None if found is None else InvocationPath(path, unquote(found[1]), found[2] is not None)


@dataclass(frozen=True, slots=True)
class BedrockInvocation(BedrockDialect):
    """What the data path must know of answers and errors."""

    name: str = NAME

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """A part of a maker's answer is content, whatever it says."""
        return EventKind.CONTENT if event == _PART else BedrockDialect.classify_event(self, data, event)


BEDROCK_INVOCATION: Final = BedrockInvocation()


class _Told(msgspec.Struct):
    """Where usage stands: in an answer or an event, of Anthropic's first event, of Nova's last, and in the last event
    of every stream."""

    usage: Any = None
    message: Any = None
    metadata: Any = None
    metrics: Any = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")

    @property
    def own(self) -> Mapping[str, Any] | None:
        """The usage in the words of the maker."""
        for told in (self.usage, _of(self.message, "usage"), _of(self.metadata, "usage")):
            if isinstance(told, dict):
                return told
        return None


class _Chunk(msgspec.Struct):
    bytes: str


_told_decoder = msgspec.json.Decoder(_Told)
_chunk_decoder = msgspec.json.Decoder(_Chunk)


def read_usage(body: bytes, headers: Mapping[str, str]) -> Usage | None:
    """The usage of a whole answer: as it tells itself, else as its headers, whose names are in lower case."""
    told = _read(body)
    if told is not None and told.own is not None and (usage := _usage(told.own)) is not None:
        return usage
    counted = {field: int(headers[name]) for name, field in _HEADERS.items() if headers.get(name, "").isdigit()}
    return _usage(counted) if counted else None


class StreamUsage:
    """Collects the usage that the events of one stream tell. What the maker tells goes before what Bedrock does, which
    does not always tell what was cached."""

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}
        self._metrics: Mapping[str, Any] = {}

    def feed(self, event: ServerSentEvent) -> None:
        """Takes the next event."""
        data = _part(event.data) if event.event == _PART else event.data
        if (b'"usage"' not in data and b"invocationMetrics" not in data) or (told := _read(data)) is None:
            return
        if told.own is not None:
            self._own.update(told.own)
        if isinstance(told.metrics, dict):
            self._metrics = told.metrics

    @property
    def usage(self) -> Usage | None:
        """The usage so far."""
        own = _usage(self._own)
        return own if own is not None and own.input_tokens else _usage(self._metrics) or own


def _usage(told: Mapping[str, Any]) -> Usage | None:
    """The usage in Anthropic's words, OpenAI's, or Amazon's, who calls the same things `…TokenCount` and `…Tokens`."""
    fields: type[AnthropicUsage | OpenAIUsage | UsageFields] = UsageFields
    if "input_tokens" in told or "output_tokens" in told:
        fields = AnthropicUsage
    elif "prompt_tokens" in told:
        fields = OpenAIUsage
    else:
        told = {name.replace("TokenCount", "Tokens"): value for name, value in told.items()}
        if "inputTokens" not in told and "outputTokens" not in told:
            return None
    try:
        return msgspec.convert(told, fields).to_usage()
    except msgspec.ValidationError:
        return None


def _read(body: bytes) -> _Told | None:
    try:
        return _told_decoder.decode(body)
    except UNREADABLE:
        return None


def _part(data: bytes) -> bytes:
    """The part of the maker's answer in one event."""
    try:
        return b64decode(_chunk_decoder.decode(data).bytes)
    except (*UNREADABLE, ValueError):
        return b""


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
