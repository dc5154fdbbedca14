"""Reading and changing single fields of OpenAI bodies without decoding the rest: bytes pass through unchanged."""

from itertools import product
from typing import Annotated, Any, TypeVar, cast

import msgspec

from gateway.errors import InvalidRequestError
from gateway.types import Usage

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON that is wanted; the last for too deep nesting."""

_MAX_TOKENS = 2**63 - 1


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


S = TypeVar("S", bound=msgspec.Struct)

_SPELLINGS = [name for each in product(*zip("model", "MODEL", strict=True)) if (name := "".join(each)) != "model"]


def head_decoder(head: type[S]) -> msgspec.json.Decoder[S]:
    """Reads what a request's head has, and takes no `model` in capitals: servers written in Go go by whichever spelling
    comes last, and so by another name than was checked."""
    strict = msgspec.defstruct(head.__name__, [(name, None, None) for name in _SPELLINGS], bases=(head,))
    return msgspec.json.Decoder(cast("type[S]", strict))


class RequestHead(msgspec.Struct):
    """The fields of a request that routing needs."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether the caller asked for the usage of a streamed answer."""
        return bool(self.stream_options and self.stream_options.include_usage)


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


_NO_PROMPT_DETAILS = _PromptDetails()
_NO_COMPLETION_DETAILS = _CompletionDetails()


class UsageFields(msgspec.Struct):
    """Usage as OpenAI writes it; cached tokens are part of the prompt, reasoning part of the completion.

    Some servers count cached tokens beside the details: `num_cached_tokens` (Mistral), `prompt_cache_hit_tokens`
    (DeepSeek).
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    num_cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def to_usage(self) -> Usage:
        """The canonical usage."""
        prompt = self.prompt_tokens_details or _NO_PROMPT_DETAILS
        completion = self.completion_tokens_details or _NO_COMPLETION_DETAILS
        cached = prompt.cached_tokens or self.num_cached_tokens or self.prompt_cache_hit_tokens
        if prompt is _NO_PROMPT_DETAILS and completion is _NO_COMPLETION_DETAILS and not cached:
            return Usage(input_tokens=_count(self.prompt_tokens), output_tokens=_count(self.completion_tokens))
        return Usage(
            input_tokens=_count(self.prompt_tokens),
            output_tokens=_count(self.completion_tokens),
            cached_input_tokens=_count(cached),
            cache_creation_tokens=_count(prompt.cache_write_tokens),
            reasoning_tokens=_count(completion.reasoning_tokens),
            audio_input_tokens=_count(prompt.audio_tokens),
            audio_output_tokens=_count(completion.audio_tokens),
        )


def _count(tokens: int | None) -> int:
    """A number of tokens, whatever a backend claims: never negative, never more than a counter can hold."""
    if tokens is None:
        return 0
    return tokens if 0 <= tokens <= _MAX_TOKENS else 0 if tokens < 0 else _MAX_TOKENS


class _AnswerHead(msgspec.Struct):
    usage: UsageFields | None = None


class _UsageChunk(msgspec.Struct):
    usage: UsageFields | None = None
    choices: list[msgspec.Raw] | None = None


class _ErrorFields(msgspec.Struct):
    message: Any = None
    code: Any = None
    type: Any = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorFields | str


class _Model:
    """The value of a `model`, whatever it is."""


_MODEL = _Model()


class _Named(msgspec.Struct):
    model: _Model = _MODEL


class _Prompt(msgspec.Struct):
    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")


_prompt_decoder = msgspec.json.Decoder(_Prompt)
_head_decoder = head_decoder(RequestHead)
_usage_chunk_decoder = msgspec.json.Decoder(_UsageChunk)
_answer_decoder = msgspec.json.Decoder(_AnswerHead)
_error_decoder = msgspec.json.Decoder(_ErrorBody)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_or_none_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def read_request(body: bytes) -> RequestHead:
    """The head of a request. Raises `InvalidRequestError` for what is not a JSON object with a `model`."""
    try:
        return _head_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error), reason="INVALID_REQUEST", param=_field_of(str(error))) from None
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", reason="INVALID_JSON") from None
    except UnicodeDecodeError:
        raise InvalidRequestError("the body is not valid UTF-8", reason="INVALID_JSON") from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply", reason="INVALID_JSON") from None


def _field_of(message: str) -> str | None:
    """The field that a msgspec message is about: ``… - at `$.stream` `` or ``… required field `model` ``."""
    if "`$." in message:
        return message.rpartition("`$.")[2].rstrip("`")
    if "required field" in message:
        return message.rpartition("field `")[2].rstrip("`")
    return None


def set_request_model(body: bytes, model: str) -> bytes:
    """The request with another `model`; order and all other bytes of values are kept.

    Of a name that occurs twice only the last stays. Raises `InvalidRequestError` for what is not a JSON object.
    """
    try:
        fields = _raw_decoder.decode(body)
    except UNREADABLE as error:
        raise InvalidRequestError(f"the body is not a JSON object: {error}", reason="INVALID_JSON") from None
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def ask_for_usage(body: bytes) -> bytes:
    """The request for a stream, with `stream_options.include_usage`; the very same if it has that already.

    Order and all other bytes of values are kept. Raises `InvalidRequestError` for what `read_request` does not take.
    """
    if read_request(body).wants_usage:
        return body
    fields = _raw_decoder.decode(body)
    options = _raw_or_none_decoder.decode(fields.get("stream_options", b"null")) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


def is_usage_alone(data: bytes) -> bool:
    """Whether a chunk has a usage and no choices."""
    try:
        chunk = _usage_chunk_decoder.decode(data)
    except UNREADABLE:
        return False
    return chunk.usage is not None and not chunk.choices


def prompt_of(body: bytes) -> bytes:
    """The messages, input or prompt of a request as they are written; empty if there is none."""
    try:
        prompt = _prompt_decoder.decode(body)
    except UNREADABLE:
        return b""
    return bytes(prompt.messages) or bytes(prompt.input) or bytes(prompt.prompt)


def without_duplicate_model(body: bytes, model: str) -> bytes:
    """The request such that every JSON reader finds the `model` that Janua has routed and checked.

    Readers differ on which of two equal names counts. A body that has it once is returned as it is.
    """
    return body if _names_model_once(body) else set_request_model(body, model)


def _names_model_once(body: bytes) -> bool:
    """Whether an object has one `model`, however the name is written: it may have escapes (`mod\\u0065l`)."""
    count = 0

    def note(kind: type, value: object) -> object:
        nonlocal count
        count += 1
        return _MODEL

    try:
        # A decoder asks for each value of a type that it does not know, also where another takes its place later. That
        # is much less work than to search for the name, and what only looks like it in some text does not count.
        msgspec.json.decode(body, type=_Named, dec_hook=note)
    except UNREADABLE:
        return False
    return count == 1


def replace_model(body: bytes, model: str) -> bytes:
    """The JSON object with another `model`; anything that is not an object with one is returned as it is."""
    try:
        fields = _raw_decoder.decode(body)
    except UNREADABLE:
        return body
    if "model" not in fields:
        return body
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def read_usage(body: bytes) -> Usage | None:
    """The usage in an answer or chunk, if there is one."""
    try:
        usage = _answer_decoder.decode(body).usage
    except UNREADABLE:
        return None
    return usage.to_usage() if usage else None


def read_error(body: bytes) -> str | None:
    """The message of an error body, or None if it is not one in OpenAI's form."""
    try:
        error = _error_decoder.decode(body).error
    except UNREADABLE:
        return None
    message = error if isinstance(error, str) else error.message
    return message if isinstance(message, str) else "the upstream gave no message"
