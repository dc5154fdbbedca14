"""Sources of a text, as Anthropic's text blocks name them: to canonical and back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.types import Citation

_WEB = "web_search_result_location"

# Of each kind of source the fields that have a canonical place: its address and its title.
_KINDS: Mapping[str, tuple[str | None, str]] = MappingProxyType(
    {
        _WEB: ("url", "title"),
        "search_result_location": ("source", "title"),
        "char_location": (None, "document_title"),
        "page_location": (None, "document_title"),
        "content_block_location": (None, "document_title"),
    }
)

# Which part of the answer a source is for; here that is the block it stands in.
_EXTENT = ("start_index", "end_index")


def decode_citation(fields: Mapping[str, Any], *, extent: tuple[int, int] | None = None) -> Citation:
    """The source. `extent` is where in the whole text the words begin and end that it is for, in characters."""
    url_field, title_field = _KINDS.get(_text(fields.get("type")), ("url", "title"))
    known = {"cited_text", title_field} | ({url_field} if url_field else set())
    extra = {name: value for name, value in fields.items() if name not in known}
    if extent is not None:
        extra |= dict(zip(_EXTENT, extent, strict=True))
    return Citation(
        url=_text(fields.get(url_field)) if url_field else "",
        title=_text(fields.get(title_field)),
        cited_text=_text(fields.get("cited_text")),
        extra=extra or None,
    )


def encode_citation(citation: Citation) -> dict[str, Any]:
    """The source; one that another dialect told is written as found on the web."""
    kind = _kind(citation)
    extra = citation.extra or {}
    if kind is None:
        found = {"url": citation.url, "title": citation.title or None, "cited_text": citation.cited_text}
        return {"type": _WEB, **found, "encrypted_index": ""}
    url_field, title_field = _KINDS[kind]
    fields = {name: value for name, value in extra.items() if name not in _EXTENT}
    fields["cited_text"] = citation.cited_text
    fields[title_field] = citation.title or None
    if url_field is not None:
        fields[url_field] = citation.url
    return fields


def is_own(citation: Citation) -> bool:
    """Whether it came in this dialect; only then the backend takes it back."""
    return _kind(citation) is not None


def _kind(citation: Citation) -> str | None:
    kind = (citation.extra or {}).get("type")
    return kind if isinstance(kind, str) and kind in _KINDS else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
