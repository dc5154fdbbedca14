"""Sources as Cohere names them: one citation for a span of the answer, with all its sources. Canonical ones are of one
source each."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.types import Citation

# Which characters of the answer a source is for, under the names that other dialects know.
_EXTENT = {"start": "start_index", "end": "end_index"}
_NAMES = {written: name for name, written in _EXTENT.items()}

_DOCUMENT = "document"
_KINDS = (_DOCUMENT, "tool")


def decode_citations(value: Mapping[str, Any]) -> Iterator[Citation]:
    """The sources of one citation; what only this dialect knows of each is kept in its `extra`."""
    common = {_EXTENT.get(name, name): item for name, item in value.items() if name != "sources" and item is not None}
    sources = value.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            yield _decode_source(source, common)


def _decode_source(source: Mapping[str, Any], common: Mapping[str, Any]) -> Citation:
    told = source.get(_DOCUMENT)
    document: Mapping[str, Any] = told if isinstance(told, dict) else {}
    return Citation(
        url=_text(document, "url"),
        title=_text(document, "title") or _text(source, "id"),
        cited_text=_text(document, "text") or _text(document, "snippet"),
        extra={**common, "source": source},
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def is_own(citation: Citation) -> bool:
    """Whether it came in this dialect; only then the backend takes it back."""
    match (citation.extra or {}).get("source"):
        case {"type": str(kind)}:
            return kind in _KINDS
        case _:
            return False


def encode_citations(citations: Iterable[Citation], *, text: str = "", start: int = 0) -> list[dict[str, Any]]:
    """The citations, sources of the same words together.

    `text` are the words, which begin at the character `start` of the answer, that those without a place are for.
    """
    whole = {"start": start, "end": start + len(text), "text": text}
    encoded: list[dict[str, Any]] = []
    for citation in citations:
        place, source = _encode_source(citation, whole)
        if encoded and {name: item for name, item in encoded[-1].items() if name != "sources"} == place:
            encoded[-1]["sources"].append(source)
        else:
            encoded.append({**place, "sources": [source]})
    return encoded


def _encode_source(citation: Citation, whole: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    extra: Mapping[str, Any] = citation.extra or {}
    if is_own(citation):
        return {_NAMES.get(name, name): item for name, item in extra.items() if name != "source"}, extra["source"]
    identifier = citation.url or citation.title
    document = {"id": identifier, "title": citation.title, "url": citation.url, "snippet": citation.cited_text}
    told = {name: item for name, item in document.items() if item}
    extent = [extra.get(name) for name in _EXTENT.values()]
    place = dict(whole)
    match extent:
        case [int(begin), int(end)] if 0 <= begin <= end:
            place = {"start": begin, "end": end, "text": _words(whole, begin, end)}
    return place, {"type": _DOCUMENT, "id": identifier, _DOCUMENT: told}


def _words(whole: Mapping[str, Any], begin: int, end: int) -> str:
    """The characters from one place of the answer to another; empty if they are not all known."""
    text: str = whole["text"]
    first, last = begin - whole["start"], end - whole["start"]
    return text[first:last] if first >= 0 and last <= len(text) else ""
