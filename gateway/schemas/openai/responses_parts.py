"""The content of messages and of results in OpenAI's responses, to canonical and back."""

import mimetypes
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from gateway.schemas.json_fields import Fields
from gateway.schemas.openai.responses_citations import annotation_fields, read_citation
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    CacheTtl,
    ContentPart,
    FilePart,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolResult,
)

_ANY_IMAGE = "image/*"
_DEFAULT_DETAIL = "auto"


def decode_content(fields: Fields, name: str) -> list[ContentPart]:
    """The parts in a field that is a string or an array; an empty string has none."""
    content = fields.value(name)
    if content is None:
        return []
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        raise fields.wrong(name, "a string or an array is needed")
    place = fields.place_of(name)
    return [_decode_part(Fields(part, f"{place}[{index}]")) for index, part in enumerate(content)]


def _decode_part(fields: Fields) -> ContentPart:
    cache = CacheTtl.DEFAULT if fields.has("prompt_cache_breakpoint") else None
    match kind := fields.text("type"):
        case "input_text" | "text":
            return TextPart(text=fields.text("text"), cache=cache)
        case "output_text":
            found = (read_citation(annotation) for annotation in fields.array("annotations", required=False))
            citations = tuple(citation for citation in found if citation is not None)
            return TextPart(text=fields.text("text"), citations=citations)
        case "refusal":
            return RefusalPart(text=fields.text("refusal"))
        case "input_image":
            return _decode_image(fields, cache)
        case "input_audio":
            audio = fields.object("input_audio")
            return AudioPart(data=audio.base64("data"), format=audio.text("format"))
        case "input_file":
            return _decode_file(fields, cache)
        case _:
            known = "input_text, input_image, input_file, input_audio, output_text, refusal"
            raise fields.wrong("type", f"'{kind}' is not a kind of content; known: {known}")


def _decode_image(fields: Fields, cache: CacheTtl | None) -> ContentPart:
    detail = fields.text("detail", _DEFAULT_DETAIL)
    known = None if detail == _DEFAULT_DETAIL else detail
    if fields.has("image_url"):
        return ImagePart(url=fields.address("image_url"), detail=known, cache=cache)
    if (file_id := fields.optional_text("file_id")) is not None:
        extra = None if known is None else {"detail": known}
        return FilePart(file_id=file_id, media_type=_ANY_IMAGE, extra=extra, cache=cache)
    raise fields.wrong("image_url", "is missing")


def _decode_file(fields: Fields, cache: CacheTtl | None) -> FilePart:
    name = fields.optional_text("filename")
    data = fields.address("file_data") if fields.has("file_data") else None
    if data is not None and not data.startswith("data:"):
        media_type = mimetypes.guess_type(name or "")[0] or "application/pdf"
        data = f"data:{media_type};base64,{data}"
    url = fields.optional_text("file_url") if data is None else data
    file_id = fields.optional_text("file_id")
    if url is None and file_id is None:
        raise fields.wrong("file_data", "is missing, and so are file_url and file_id")
    detail = fields.optional_text("detail")
    extra = None if detail is None else {"detail": detail}
    return FilePart(url=url, file_id=file_id, name=name, extra=extra, cache=cache)


def encode_content(
    parts: Sequence[ContentPart], unsupported: Unsupported, *, is_output: bool = False
) -> str | list[dict[str, Any]]:
    """The value of a field; one plain text is sent as a string, which every server understands.

    Cache marks are not sent: backends of this dialect find by themselves what to cache, and many refuse the mark.
    """
    match parts:
        case []:
            return ""
        case [TextPart(text=text, citations=())]:
            return text
        case _:
            return [field for part in parts for field in _encode_part(part, unsupported, is_output=is_output)]


def _encode_part(part: ContentPart, unsupported: Unsupported, *, is_output: bool) -> Iterator[dict[str, Any]]:
    match part:
        case TextPart(text=text) if is_output:
            annotations = [annotation_fields(citation, len(text)) for citation in part.citations]
            yield {"type": "output_text", "text": text, "annotations": annotations}
        case TextPart(text=text):
            yield {"type": "input_text", "text": text}
        case RefusalPart(text=text):
            yield {"type": "refusal", "refusal": text}
        case ImagePart() | AudioPart() | FilePart() if is_output:
            unsupported.field("messages", "pictures, sound and files of the assistant")
        case ImagePart():
            yield {"type": "input_image", "image_url": part.url, "detail": part.detail or _DEFAULT_DETAIL}
        case AudioPart(data=data, format=form):
            yield {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case FilePart():
            unsupported.file_details(part, known=("detail",))
            yield _file(part)
        case ToolCall() | ToolResult() | ReasoningPart() | OpaquePart():
            raise AssertionError("these are items of their own")
        case _:
            assert_never(part)


def _file(part: FilePart) -> dict[str, Any]:
    detail = (part.extra or {}).get("detail")
    if (part.media_type or "").startswith("image/") and (part.file_id is not None or part.url is not None):
        source = {"image_url": part.url} if part.url is not None else {"file_id": part.file_id}
        return {"type": "input_image", **source, "detail": detail or _DEFAULT_DETAIL}
    name = "file_data" if part.url is not None and part.url.startswith("data:") else "file_url"
    file = {name: part.url, "file_id": part.file_id, "filename": part.name, "detail": detail}
    return {"type": "input_file", **{name: value for name, value in file.items() if value is not None}}
