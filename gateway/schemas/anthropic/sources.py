"""Pictures and documents in Anthropic's blocks: to canonical and back."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.schemas.data_urls import Inline, data_url, read_data_url, text_url
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import FilePart, ImagePart

PDF = "application/pdf"

# A picture known by its id at the backend alone, where its type is not told.
_ANY_IMAGE = "image/*"
_JSON = "application/json"
_PLAIN = "text/plain"
_DETAILS = ("context", "citations")


def decode_image(fields: Fields) -> ImagePart | FilePart | None:
    """The picture in an `image` block; None if its source is of an unknown kind."""
    source = fields.object("source")
    match source.text("type"):
        case "base64":
            return ImagePart(url=data_url(source.text("media_type"), source.base64("data")))
        case "url":
            return ImagePart(url=source.text("url"))
        case "file":
            return FilePart(file_id=source.text("file_id"), media_type=_ANY_IMAGE)
        case _:
            return None


def decode_document(fields: Fields) -> FilePart | None:
    """The document in a `document` block; None if its source is of an unknown kind.

    Its `extra` has what the model is told of it, and whether it is to cite it. Of a document in pieces `extra` has
    the pieces, which citations name, and the address is that of their text.
    """
    name = fields.optional_text("title")
    source = fields.object("source")
    url, file_id, media_type, pieces = None, None, None, {}
    match source.text("type"):
        case "base64":
            media_type = source.text("media_type", PDF)
            url = data_url(media_type, source.base64("data"))
        case "text":
            media_type = source.text("media_type", _PLAIN)
            url = text_url(source.text("data"), media_type)
        case "url":
            url, media_type = source.text("url"), PDF
        case "file":
            file_id = source.text("file_id")
        case "content" if (text := _text_of(content := source.value("content"))) is not None:
            url, media_type = text_url(text), _PLAIN
            pieces = {"source": {"type": "content", "content": content}}
        case _:
            return None
    return FilePart(url=url, file_id=file_id, name=name, media_type=media_type, extra=pieces or None)


def _text_of(content: object) -> str | None:
    """The text of a document in pieces; None if there are pictures among them."""
    match content:
        case str():
            return content
        case [*pieces]:
            texts = [text for piece in pieces if isinstance(piece, dict) and isinstance(text := piece.get("text"), str)]
            return "\n".join(texts) if len(texts) == len(pieces) else None
        case _:
            return None


def kept_block(value: Mapping[str, Any]) -> FilePart:
    """A block that has no part of its own, as a file: the source and text of a search result, of any other its JSON."""
    match value:
        case {"type": "search_result", "title": str(title), "source": str(source), "content": [*pieces], **rest}:
            if (text := _text_of(pieces)) is not None:
                extra = {"block": value} | ({"citations": rest["citations"]} if "citations" in rest else {})
                return FilePart(url=text_url(f"{source}\n{text}"), name=title, media_type=_PLAIN, extra=extra)
        case _:
            pass
    url = text_url(msgspec.json.encode(value).decode(), _JSON)
    return FilePart(url=url, media_type=_JSON, extra={"block": value})


def encode_image(image: ImagePart) -> dict[str, Any]:
    """The block of a picture."""
    return {"type": "image", "source": _image_source(image.url)}


def _image_source(url: str) -> dict[str, Any]:
    inline = read_data_url(url)
    if inline is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": inline.media_type.replace("image/jpg", "image/jpeg"), "data": inline.data}


def encode_file(file: FilePart, unsupported: Unsupported) -> dict[str, Any] | None:
    """The block of a document; None if there is no place for it and that is to be passed over."""
    extra = file.extra or {}
    if isinstance(kept := extra.get("block"), dict):
        return kept
    source = _document_source(file, extra.get("source"))
    if source is None:
        unsupported.field("messages", f"a file of the type {file.media_type or _media_type(file.url)}")
        return None
    if _is_image(file):
        unsupported.file_details(file)
        return {"type": "image", "source": source}
    unsupported.file_details(file, known=_DETAILS)
    block: dict[str, Any] = {"type": "document", "source": source}
    block |= {} if file.name is None else {"title": file.name}
    return block | {name: extra[name] for name in _DETAILS if name in extra}


def _document_source(file: FilePart, pieces: object) -> dict[str, Any] | None:
    if isinstance(pieces, dict):
        return pieces
    if file.file_id is not None:
        return {"type": "file", "file_id": file.file_id}
    if file.url is None:
        return None
    if _is_image(file):
        return _image_source(file.url)
    inline = read_data_url(file.url)
    return {"type": "url", "url": file.url} if inline is None else _inline_source(inline)


def _inline_source(inline: Inline) -> dict[str, Any] | None:
    if inline.media_type == PDF:
        return {"type": "base64", "media_type": PDF, "data": inline.data}
    if inline.media_type.startswith("text/") or inline.media_type == _JSON:
        return {"type": "text", "media_type": _PLAIN, "data": inline.text()}
    return None


def _is_image(file: FilePart) -> bool:
    return (file.media_type or _media_type(file.url)).startswith("image/")


def _media_type(url: str | None) -> str:
    """The media type in a `data:` address, without its parameters; empty for any other."""
    if url is None or not url.startswith("data:"):
        return ""
    return url[len("data:") : url.find(",")].partition(";")[0].strip().lower()
