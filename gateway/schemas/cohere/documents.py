"""Cohere's documents, which models cite: JSON objects with an id, or texts. Canonical files of text, and back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.schemas.data_urls import read_data_url, text_url
from gateway.schemas.json_fields import Fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import FilePart

_PLAIN = "text/plain"
_JSON = "application/json"


def decode_document(value: object, place: str) -> FilePart:
    """The file: of a text alone a plain one, of any other object its JSON. Its name is the document's id."""
    if isinstance(value, str):
        return FilePart(url=text_url(value), media_type=_PLAIN)
    fields = Fields(value, place)
    name = fields.optional_text("id")
    match data := fields.value("data"):
        case {"text": str(text), **rest} if not rest:
            return FilePart(url=text_url(text), name=name, media_type=_PLAIN)
        case dict():
            url = text_url(msgspec.json.encode(data).decode(), _JSON)
            return FilePart(url=url, name=name, media_type=_JSON)
        case str(text):
            return FilePart(url=text_url(text), name=name, media_type=_PLAIN)
        case _:
            raise fields.wrong("data", "an object is needed")


def encode_document(file: FilePart) -> dict[str, Any] | None:
    """The document; None if the file is no text, or is not here."""
    inline = read_data_url(file.url) if file.url is not None else None
    if inline is None or not (inline.media_type.startswith("text/") or inline.media_type == _JSON):
        return None
    text = inline.text()
    data: Mapping[str, Any] = {"text": text}
    if inline.media_type == _JSON:
        data = _object(text) or data
    return {"data": data} if file.name is None else {"id": file.name, "data": data}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) and value else None
