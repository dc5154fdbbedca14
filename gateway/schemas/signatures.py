"""Whose signatures are whose. A thought, or a call, goes back signed only to backends of the dialect that signed it:
others refuse what they have not written.

On its way to a client of another dialect a signature is sealed: the dialect's name is put before it, and both are
written as base64, which every dialect takes for a signature. What comes back unsealed is of the client's own dialect.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from gateway.types import (
    ChatEvent,
    ChatRequest,
    ContentPart,
    Message,
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    ToolCall,
    ToolCallDelta,
)

_PREFIX = "janua:"
_MARK = (
    "amFudWE6"  # the prefix in base64; its length is a multiple of three, so that it does not depend on what follows
)
MARK = _MARK.encode()
"""Stands in every body with a sealed signature."""

# Some clients hold signatures as bytes, and write them in the other alphabet.
_URL_SAFE = str.maketrans("-_", "+/")

# The fields that dialects write conversations to.
_CONVERSATION = (
    "messages", "system", "input", "instructions", "contents", "systemInstruction", "system_instruction",
    "generateContentRequest", "generate_content_request",
)  # fmt: skip

_SIGNED = (ReasoningSigned, ReasoningRedacted, ToolCallDelta)

_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def sealed(events: Iterable[ChatEvent], dialect: str) -> list[ChatEvent]:
    """Events of a backend that speaks `dialect`, for a client that speaks another."""
    return [_sealed(event, dialect) if isinstance(event, _SIGNED) else event for event in events]


def _sealed(event: ChatEvent, dialect: str) -> ChatEvent:
    match event:
        case ReasoningSigned(signature=signature):
            return replace(event, signature=_seal(signature, dialect))
        case ReasoningRedacted(data=data):
            return replace(event, data=_seal(data, dialect))
        case ToolCallDelta(signature=signature) if signature:
            return replace(event, signature=_seal(signature, dialect))
        case _:
            return event


def _seal(signature: str, dialect: str) -> str:
    return base64.b64encode(f"{_PREFIX}{dialect}:{signature}".encode()).decode()


def _open(text: str) -> tuple[str, str] | None:
    """The dialect and the signature in a seal; None for what is none."""
    if not text.startswith(_MARK):
        return None
    try:
        told = base64.b64decode(text.translate(_URL_SAFE), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    dialect, separator, signature = told.removeprefix(_PREFIX).partition(":")
    return (dialect, signature) if separator else None


def unsealed(request: ChatRequest, dialect: str) -> ChatRequest:
    """The conversation for a backend that speaks `dialect`: with the signatures that are of it, and without others.

    Thoughts that only another backend can read are left out.
    """
    if not any(isinstance(part, ReasoningPart | ToolCall) for message in request.messages for part in message.content):
        return request
    messages = tuple(_messages(request.messages, request.dialect, dialect))
    return replace(request, messages=messages)


def _messages(messages: Sequence[Message], source: str, dialect: str) -> Iterator[Message]:
    for message in messages:
        content = tuple(_parts(message.content, source, dialect))
        if content or not message.content:
            yield replace(message, content=content)


def _parts(content: Sequence[ContentPart], source: str, dialect: str) -> Iterator[ContentPart]:
    for part in content:
        match part:
            case ToolCall(signature=str(signature)):
                yield replace(part, signature=_own(signature, source, dialect))
            case ReasoningPart(redacted=str(redacted)):
                if (own := _own(redacted, source, dialect)) is not None:
                    yield replace(part, redacted=own)
            case ReasoningPart(signature=str(signature)):
                own = _own(signature, source, dialect)
                if own is not None or part.text:
                    yield replace(part, signature=own)
            case _:
                yield part


def _own(text: str, source: str, dialect: str) -> str | None:
    opened = _open(text)
    signer, signature = (source, text) if opened is None else opened
    return signature if signer == dialect else None


def with_conversation(body: bytes, encoded: bytes) -> bytes:
    """The request in `body`, all of it as it is but the conversation, which is that of `encoded`: the same request
    written anew."""
    fields, anew = _raw_decoder.decode(body), _raw_decoder.decode(encoded)
    kept = {name: value for name, value in fields.items() if name not in _CONVERSATION}
    return msgspec.json.encode(kept | {name: anew[name] for name in _CONVERSATION if name in anew})
