"""Sources of a text, which OpenAI's responses call annotations."""

from typing import Any

from gateway.types import Citation


def read_citation(annotation: Any) -> Citation | None:
    """The source that an annotation tells; what is not understood is passed over."""
    match annotation:
        case {"type": "url_citation", "url": str(url)}:
            title = annotation.get("title")
            extra = {name: value for name, value in annotation.items() if name not in ("type", "url", "title")}
            return Citation(url=url, title=title if isinstance(title, str) else "", extra=extra or None)
        case {"type": str()}:
            title = annotation.get("filename")
            return Citation(title=title if isinstance(title, str) else "", extra=annotation)
        case _:
            return None


def annotation_fields(citation: Citation, at: int) -> dict[str, Any]:
    """The annotation; `at` is the place in the text that a source without one of its own is given."""
    extra = citation.extra or {}
    if isinstance(extra.get("type"), str) and not citation.url:
        return dict(extra)
    start, end = (extra.get(name) for name in ("start_index", "end_index"))
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": start if isinstance(start, int) else at,
        "end_index": end if isinstance(end, int) else at,
    }
