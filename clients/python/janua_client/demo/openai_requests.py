"""The part of OpenAI's request bodies that the echo model reads, and the errors for bodies that break the rules."""

import re
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

PositiveInt = Annotated[int, Meta(ge=1)]


class RequestError(Exception):
    """A request the server refuses, as OpenAI words it: HTTP status, and the field it is about, if any."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


class TextPart(Struct, tag="text", tag_field="type", frozen=True):
    """A piece of text in a message."""

    text: str


class ImagePart(Struct, tag="image_url", tag_field="type", frozen=True):
    """A picture in a message, which this model cannot see."""


class Message(Struct, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | ImagePart] | None = None

    def text(self) -> str:
        """The message's text, its parts joined."""
        if isinstance(self.content, str):
            return self.content
        return " ".join(part.text for part in self.content or () if isinstance(part, TextPart))


class StreamOptions(Struct, frozen=True):
    """Options of a streamed answer."""

    include_usage: bool = False


class ChatRequest(Struct, frozen=True):
    """A body of `/v1/chat/completions`. Fields that are not listed change nothing for this model."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    n: Annotated[int, Meta(ge=1, le=8)] = 1

    def limit(self) -> int | None:
        """Most tokens the answer may have."""
        return self.max_completion_tokens or self.max_tokens


class EmbeddingsRequest(Struct, frozen=True):
    """A body of `/v1/embeddings`."""

    model: str
    input: str | Annotated[list[str | int | list[int]], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None

    def texts(self) -> list[str]:
        """The inputs, one per vector. Lists of token numbers stand for texts of their own."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [str(self.input)]
        return [str(item) for item in self.input]


Request = TypeVar("Request", ChatRequest, EmbeddingsRequest)


def decode(body: bytes, body_type: type[Request]) -> Request:
    """Reads a JSON body. Raises `RequestError` with the path of the first field that is wrong."""
    try:
        return msgspec.json.decode(body, type=body_type)
    except msgspec.ValidationError as error:
        raise RequestError(400, str(error), param=_field_in(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"The body is not JSON: {error}") from error


def _field_in(message: str) -> str | None:
    """The field that msgspec's message speaks of: its path, and a missing field's name below it."""
    path = re.search(r"at `\$\.?(.+)`$", message)
    missing = re.search(r"missing required field `(\w+)`", message)
    parts = [match.group(1) for match in (path, missing) if match]
    return ".".join(parts) or None
