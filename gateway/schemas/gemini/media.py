"""Pictures, sound and files in Gemini's parts: `inlineData` and `fileData`, to canonical and back."""

from typing import Any

from gateway.schemas.data_urls import data_url, read_data_url
from gateway.schemas.gemini.fields import read_inner
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import AudioPart, FilePart, ImagePart

_FORMATS = {"mpeg": "mp3", "x-wav": "wav"}
_AUDIO_TYPES = {"mp3": "mpeg"}
_IMAGE_ENDINGS = ("png", "webp", "heic", "heif", "gif")

# What stands beside a file and says how to look at it.
_DETAILS = ("videoMetadata", "mediaResolution")


def decode_media(fields: Fields) -> ImagePart | AudioPart | FilePart | None:
    """The picture, sound or file of a part; None if it has none. Raises `FieldError`."""
    if fields.has("inlineData"):
        blob = read_inner(fields, "inlineData")
        return _inline_media(blob.text("mimeType"), blob.base64("data"), blob.optional_text("displayName"), fields)
    if fields.has("fileData"):
        file = read_inner(fields, "fileData")
        return _linked_media(file.text("fileUri"), file.optional_text("mimeType"), fields)
    return None


def _inline_media(media_type: str, data: str, name: str | None, fields: Fields) -> ImagePart | AudioPart | FilePart:
    kind, _, form = media_type.partition("/")
    url = data_url(media_type, data)
    if kind == "image":
        return ImagePart(url=url)
    if kind == "audio":
        return AudioPart(data=data, format=_FORMATS.get(form, form))
    return FilePart(url=url, name=name, media_type=media_type, extra=_details(fields))


def _linked_media(uri: str, media_type: str | None, fields: Fields) -> ImagePart | FilePart:
    if (media_type or "").startswith("image/"):
        return ImagePart(url=uri)
    return FilePart(url=uri, media_type=media_type, extra=_details(fields))


def _details(fields: Fields) -> dict[str, Any] | None:
    return {name: fields.value(name) for name in _DETAILS if fields.has(name)} or None


def encode_image(image: ImagePart) -> dict[str, Any]:
    """The part for a picture."""
    if (inline := _inline(image.url)) is not None:
        return {"inlineData": inline}
    return {"fileData": {"fileUri": image.url, "mimeType": _image_type(image.url)}}


def encode_audio(audio: AudioPart) -> dict[str, Any]:
    """The part for sound."""
    form = _AUDIO_TYPES.get(audio.format, audio.format)
    return {"inlineData": {"mimeType": f"audio/{form}", "data": audio.data}}


def encode_file(file: FilePart, unsupported: Unsupported, *, is_own: bool) -> dict[str, Any] | None:
    """The part for a file; None if it cannot be sent. Raises `InvalidRequestError` as `Unsupported` does.

    Its name is sent only if it came in this dialect (`is_own`): Vertex AI takes it, the Gemini API refuses it.
    """
    url = file.url or (file.file_id if (file.file_id or "").startswith("https://") else None)
    if url is None:
        unsupported.field("messages", "a file by its id at another provider")
        return None
    unsupported.file_details(file, known=_DETAILS)
    details = {name: value for name, value in (file.extra or {}).items() if name in _DETAILS}
    if (inline := _inline(url)) is not None:
        name = {"displayName": file.name} if is_own and file.name is not None else {}
        return {"inlineData": {**inline, **name}, **details}
    # Gemini wants a type; what is sent without one is mostly a document.
    return {"fileData": {"fileUri": url, "mimeType": file.media_type or "application/pdf"}, **details}


def _image_type(url: str) -> str:
    """The type that the name at the end of an address tells; Gemini wants one."""
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return f"image/{ending}" if ending in _IMAGE_ENDINGS else "image/jpeg"


def _inline(url: str) -> dict[str, str] | None:
    """What a `data:` address holds; None for other addresses."""
    inline = read_data_url(url)
    return None if inline is None else {"mimeType": inline.media_type, "data": inline.data}
