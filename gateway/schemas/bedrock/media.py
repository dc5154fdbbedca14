"""Pictures, documents, videos and sound in Bedrock's blocks: to canonical and back.

What is in S3 has an address of the kind `s3://`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.schemas.data_urls import data_url, read_data_url, text_url
from gateway.schemas.json_fields import Fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import AudioPart, FilePart, ImagePart

_S3 = "s3://"
_PLAIN = "text/plain"
_DETAILS = ("context", "citations")
_OFFICE = "application/vnd.openxmlformats-officedocument"

_DOCUMENTS: Mapping[str, str] = MappingProxyType(
    {
        "pdf": "application/pdf",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": f"{_OFFICE}.wordprocessingml.document",
        "xls": "application/vnd.ms-excel",
        "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
        "html": "text/html",
        "txt": _PLAIN,
        "md": "text/markdown",
    }
)
_VIDEOS: Mapping[str, str] = MappingProxyType(
    {
        "mkv": "video/x-matroska",
        "mov": "video/quicktime",
        "mp4": "video/mp4",
        "webm": "video/webm",
        "flv": "video/x-flv",
        "mpeg": "video/mpeg",
        "mpg": "video/mpg",
        "wmv": "video/x-ms-wmv",
        "three_gp": "video/3gpp",
    }
)
_DOCUMENT_FORMATS = {kind: form for form, kind in _DOCUMENTS.items()}
_VIDEO_FORMATS = {kind: form for form, kind in _VIDEOS.items()}
_IMAGE_FORMATS = ("png", "jpeg", "gif", "webp")

# Names are seen by the model, and allowed to hold no more than this.
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9\s\-()\[\]_]")
_SPACES = re.compile(r"\s+")
_MAX_NAME = 200


def decode_image(fields: Fields) -> ImagePart | None:
    """The picture in an `image` block; None if it has more than an address can say."""
    form = fields.text("format")
    source = fields.object("source")
    if source.has("bytes"):
        url = data_url(f"image/{form}", source.base64("bytes"))
    elif (url := _s3_address(source) or "") and _image_format(_ending(url)) != form:
        return None
    return None if not url or fields.extra or source.extra else ImagePart(url=url)


def decode_video(fields: Fields) -> FilePart | None:
    """The film in a `video` block, as a file of its type."""
    form = fields.text("format")
    kind = _VIDEOS.get(form, f"video/{form}")
    source = fields.object("source")
    url = data_url(kind, source.base64("bytes")) if source.has("bytes") else _s3_address(source)
    return None if url is None or fields.extra or source.extra else FilePart(url=url, media_type=kind)


def decode_audio(fields: Fields) -> AudioPart | None:
    """The sound in an `audio` block; None if it is not in the request."""
    form = fields.text("format")
    source = fields.object("source")
    data = source.base64("bytes") if source.has("bytes") else None
    return None if data is None or fields.extra or source.extra else AudioPart(data=data, format=form)


def decode_document(fields: Fields) -> FilePart | None:
    """The document in a `document` block.

    Its `extra` has what the model is told of it, whether it is to cite it, and its pieces where it is in pieces: in
    Anthropic's form, which has the same.
    """
    form = fields.text("format", "txt")
    kind = _DOCUMENTS.get(form, f"application/{form}")
    name = fields.optional_text("name")
    source = fields.object("source")
    extra: dict[str, Any] = {}
    url: str | None
    if source.has("bytes"):
        url = data_url(kind, source.base64("bytes"))
    elif (text := source.optional_text("text")) is not None:
        url = text_url(text, kind) if kind.startswith("text/") else None
    elif source.has("content"):
        texts = [piece.text("text") for piece in source.objects("content", required=True)]
        url = text_url("\n".join(texts), kind)
        pieces = [{"type": "text", "text": text} for text in texts]
        extra["source"] = {"type": "content", "content": pieces}
    else:
        url = _s3_address(source)
    if url is None or source.extra:
        return None
    return FilePart(url=url, name=name, media_type=kind, extra={**extra, **fields.extra} or None)


def decode_search_result(block: Mapping[str, Any]) -> FilePart | None:
    """The text of a search result as a file, with the block in Anthropic's form, which has the same."""
    match block:
        case {"source": str(source), "title": str(title), "content": [*pieces], **rest}:
            texts = [
                piece["text"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("text"), str)
            ]
            content = [{"type": "text", "text": text} for text in texts]
            kept = {"type": "search_result", "source": source, "title": title, "content": content, **rest}
            url = text_url("\n".join(texts))
            return FilePart(url=url, name=title, media_type=_PLAIN, extra={"block": kept})
        case _:
            return None


def _s3_address(source: Fields) -> str | None:
    """Where it is; None if it must be said who owns that place."""
    if not source.has("s3Location"):
        return None
    location = source.object("s3Location")
    address = location.text("uri")
    return address if address.startswith(_S3) and not location.extra else None


def _ending(url: str) -> str:
    return url.partition("?")[0].rpartition(".")[2].lower()


def _image_format(kind: str) -> str:
    """Of a media type's second half, or a name's ending; empty if it is of no known picture."""
    form = "jpeg" if kind == "jpg" else kind
    return form if form in _IMAGE_FORMATS else ""


class MediaWriter:
    """Writes the media of one request. Documents without a name are numbered, for each must have one."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._unnamed = 0

    def image(self, image: ImagePart) -> dict[str, Any] | None:
        """The block of a picture; None if there is no place for it and that is to be passed over."""
        self._unsupported.picture_detail(image.detail)
        return self._image(image.url)

    def _image(self, url: str) -> dict[str, Any] | None:
        if url.startswith(_S3):
            form = _image_format(_ending(url)) or "png"
            return {"image": {"format": form, "source": _s3_source(url)}}
        inline = read_data_url(url)
        if inline is None:
            self._unsupported.field("messages", "a picture by its address, which Bedrock does not fetch")
            return None
        form = _image_format(inline.media_type.rpartition("/")[2])
        if not form:
            self._unsupported.field("messages", f"a picture of the type {inline.media_type}")
            return None
        return {"image": {"format": form, "source": {"bytes": inline.data}}}

    def audio(self, audio: AudioPart) -> dict[str, Any]:
        """The block of sound."""
        return {"audio": {"format": audio.format, "source": {"bytes": audio.data}}}

    def file(self, file: FilePart) -> dict[str, Any] | None:
        """The block of a document, film or picture; None if there is no place for it."""
        extra = file.extra or {}
        if (found := _search_result(extra.get("block"))) is not None:
            return found
        if file.url is None:
            self._unsupported.field("messages", "a file by its id at another provider")
            return None
        inline = read_data_url(file.url)
        kind = (file.media_type if inline is None else inline.media_type) or _DOCUMENTS.get(_ending(file.url), "")
        if kind.startswith("image/"):
            return self._image(file.url)
        if inline is None and not file.url.startswith(_S3):
            self._unsupported.field("messages", "a file by its address, which Bedrock does not fetch")
            return None
        source = _s3_source(file.url) if inline is None else {"bytes": inline.data}
        if kind in _VIDEO_FORMATS:
            return {"video": {"format": _VIDEO_FORMATS[kind], "source": source}}
        form = _DOCUMENT_FORMATS.get(kind) or ("txt" if kind.startswith("text/") or kind == "application/json" else "")
        if not form:
            self._unsupported.field("messages", f"a file of the type {kind or 'that nobody told'}")
            return None
        return {"document": self._document(file, form, _pieces(extra.get("source")) or source, extra)}

    def _document(self, file: FilePart, form: str, source: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
        self._unsupported.file_details(file, known=_DETAILS)
        block: dict[str, Any] = {"format": form, "name": self._name(file.name), "source": source}
        return block | {name: extra[name] for name in _DETAILS if name in extra}

    def _name(self, name: str | None) -> str:
        allowed = _SPACES.sub(" ", _NOT_IN_NAMES.sub("-", name or "")).strip()[:_MAX_NAME]
        if allowed:
            return allowed
        self._unnamed += 1
        return "document" if self._unnamed == 1 else f"document {self._unnamed}"


def _s3_source(url: str) -> dict[str, Any]:
    return {"s3Location": {"uri": url}}


def _pieces(source: object) -> dict[str, Any] | None:
    """A document in pieces, all of them texts."""
    match source:
        case {"type": "content", "content": [*pieces]}:
            texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
            if len(texts) == len(pieces) and all(isinstance(text, str) for text in texts):
                return {"content": [{"text": text} for text in texts]}
    return None


def _search_result(kept: object) -> dict[str, Any] | None:
    match kept:
        case {"type": "search_result", "source": str(source), "title": str(title), "content": [*pieces], **rest}:
            content = [{"text": piece["text"]} for piece in pieces if isinstance(piece, dict) and "text" in piece]
            found = {"source": source, "title": title, "content": content}
            return {"searchResult": {**found, **{name: rest[name] for name in ("citations",) if name in rest}}}
        case _:
            return None


def is_json_object(text: str) -> bool:
    """Whether a text is a JSON object, as results of functions may be."""
    if not text.startswith("{"):
        return False
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except UNREADABLE:
        return False
