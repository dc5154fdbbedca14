"""The `model` of a form (`multipart/form-data`, RFC 7578), read while the form's bytes pass by. Pure.

Nothing of the form is kept here: who passes it on has the bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Event, Field, File, MultipartDecoder, Preamble

from gateway.errors import InvalidRequestError, PayloadTooLargeError

_MAX_BOUNDARY_BYTES: Final = 70  # RFC 2046 section 5.1.1
_MAX_MODEL_BYTES: Final = 1024
_MAX_PARTS: Final = 1000
# Heads of parts and what follows the form; contents of parts are not held.
_MAX_HELD_BYTES: Final = 256 * 1024
_FEED_BYTES: Final = 64 * 1024

# Parsers differ in what they make of escapes, of repeated and of encoded names, and of anything that is odd.
_PARAMETER: Final = r"""[ \t]*;[ \t]*([\w-]+\*?)=("(?:[^"\\]|\\.)*"|[^\s;"\\]+)"""
_PARAMETERS: Final = re.compile(_PARAMETER)
_DISPOSITION: Final = re.compile(rf"form-data(?:{_PARAMETER})*[ \t]*;?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Splice:
    """Bytes in the place of those from `start` up to `end`."""

    start: int
    end: int
    new: bytes

    @property
    def growth(self) -> int:
        """By how much the whole becomes longer."""
        return len(self.new) - (self.end - self.start)


class FormReader:
    """Takes a form's bytes one after another; `model` is there once its field is complete, and None in a form without.

    Forms that other readers could understand otherwise are refused: what is routed by must be what the backend sees.
    So a second `model`, wherever it comes, is an error too, and a form has to be fed to its end.
    """

    def __init__(self, boundary: str) -> None:
        self.model: str | None = None
        self._boundary = boundary.encode()
        self._decoder = MultipartDecoder(self._boundary, _MAX_HELD_BYTES, max_parts=_MAX_PARTS)
        self._fed = 0
        self._first_part = 0
        self._has_parts = False
        self._start: int | None = None  # of the model's name
        self._value = b""

    def feed(self, data: bytes) -> None:
        """Takes more bytes. Raises `InvalidRequestError` and `PayloadTooLargeError`."""
        for at in range(0, len(data), _FEED_BYTES):
            self._receive(data[at : at + _FEED_BYTES])

    def end(self) -> None:
        """There are no more bytes. Raises `InvalidRequestError` if the form is not complete."""
        self._receive(None)

    def with_model(self, model: str) -> Splice:
        """What makes the form name that model, instead of its own or where it names none."""
        if self._start is not None:
            return Splice(self._start, self._start + len(self._value), model.encode())
        part = b'content-disposition: form-data; name="model"\r\n\r\n%b\r\n--%b\r\n' % (model.encode(), self._boundary)
        return Splice(self._first_part, self._first_part, part)

    def _receive(self, data: bytes | None) -> None:
        try:
            self._decoder.receive_data(data)
            self._fed += len(data or b"")
            while (event := self._decoder.next_event()) is not NEED_DATA:
                self._take(event)
                if isinstance(event, Epilogue):
                    return
        except RequestEntityTooLarge:
            raise PayloadTooLargeError("the form has too many parts, or too much beside their contents") from None
        except ValueError as error:
            raise InvalidRequestError(f"the form cannot be read: {error}") from None

    @property
    def _position(self) -> int:
        return self._fed - len(self._decoder.buffer)

    def _take(self, event: Event) -> None:
        match event:
            case Preamble():
                self._first_part = self._position
            case Field() | File():
                self._begin_part(event)
            case Data() if self._start is not None and self.model is None:
                self._value += event.data
                if len(self._value) > _MAX_MODEL_BYTES:
                    raise InvalidRequestError(f"model is longer than {_MAX_MODEL_BYTES} bytes", param="model")
                if not event.more_data:
                    # werkzeug gives the boundary's own CR as data where a read ends one byte after the boundary.
                    self._value = self._value.removesuffix(b"\r")
                    self.model = _model_name(self._value)
            case Epilogue() if not self._has_parts:
                raise InvalidRequestError("the form is empty")

    def _begin_part(self, part: Field | File) -> None:
        self._has_parts = True
        name = _plain_name(part.headers.getlist("content-disposition"))
        if name is None or name != part.name:
            raise InvalidRequestError("every part of the form must tell its name once, and without escapes")
        if not self._decoder.buffer.startswith(b"\r\n"):
            raise InvalidRequestError("the form's lines must end with CRLF")
        if name != "model":
            return
        if self._start is not None:
            raise InvalidRequestError("model is there twice", param="model")
        if isinstance(part, File) or "content-transfer-encoding" in part.headers:
            raise InvalidRequestError("model must be plain text", param="model")
        self._start = self._position + len(b"\r\n")


def _plain_name(dispositions: Sequence[str]) -> str | None:
    """The name of a part that no reader can take for another; None for one that some could."""
    if len(dispositions) != 1 or _DISPOSITION.fullmatch(dispositions[0]) is None:
        return None
    found = [(key.lower(), value) for key, value in _PARAMETERS.findall(dispositions[0])]
    names = [value for key, value in found if key in ("name", "name*")]
    if len(names) != 1 or ("name", names[0]) not in found or "\\" in names[0]:
        return None
    return names[0].strip('"') or None


def _model_name(value: bytes) -> str:
    try:
        name = value.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("model is not UTF-8", param="model") from None
    if not name:
        raise InvalidRequestError("model is empty", param="model")
    return name


def form_boundary(content_type: str) -> str:
    """What divides the parts. Raises `InvalidRequestError` for a content type that does not tell."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary or not boundary.isascii() or len(boundary) > _MAX_BOUNDARY_BYTES:
        raise InvalidRequestError("the content-type of a form must tell its boundary", param="content-type")
    return boundary
