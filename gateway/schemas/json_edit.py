"""Changing a JSON object as a whole: it is read, changed and written again, so that no name stands in it twice."""

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.edits import JsonEdit
from gateway.errors import InvalidRequestError
from gateway.schemas.openai.fields import UNREADABLE

_decoder = msgspec.json.Decoder(dict[str, Any])


def edited_json(body: bytes, edit: JsonEdit) -> bytes:
    """The request's object, changed. Raises `InvalidRequestError` for what is none."""
    try:
        value = _decoder.decode(body)
    except UNREADABLE as error:
        raise InvalidRequestError(f"the body is not a JSON object: {error}", reason="INVALID_JSON") from None
    edit(value)
    return msgspec.json.encode(value)


def edited_answer(data: bytes, edits: Iterable[JsonEdit]) -> bytes:
    """An answer's object, or that of an event, changed; what is none, such as an end mark, is returned as it is."""
    try:
        value = _decoder.decode(data)
    except UNREADABLE:
        return data
    for edit in edits:
        edit(value)
    return msgspec.json.encode(value)
