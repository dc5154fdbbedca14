"""Sources of a text, as Bedrock names them: to canonical and back."""

from collections.abc import Mapping
from typing import Any

from gateway.types import Citation

# Which part of the answer a source is for; here that is the block it stands in.
_EXTENT = ("start_index", "end_index")


def decode_citation(fields: Mapping[str, Any], *, extent: tuple[int, int] | None = None) -> Citation:
    """The source. `extent` is where in the whole text the words begin and end that it is for, in characters."""
    extra = {name: value for name, value in fields.items() if name not in ("title", "sourceContent")}
    if extent is not None:
        extra |= dict(zip(_EXTENT, extent, strict=True))
    url = ""
    match fields:
        case {"location": {"web": {"url": str(address)}}}:
            url = address
        case {"source": str(address)} if address.startswith(("https://", "http://")):
            url = address
    title = fields.get("title")
    pieces = fields.get("sourceContent")
    texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []
    return Citation(
        url=url,
        title=title if isinstance(title, str) else "",
        cited_text="".join(text for text in texts if isinstance(text, str)),
        extra=extra or None,
    )


def encode_citation(citation: Citation) -> dict[str, Any]:
    """The source; one that another dialect told is written as found on the web."""
    fields: dict[str, Any] = {}
    if is_own(citation):
        fields |= {name: value for name, value in (citation.extra or {}).items() if name not in _EXTENT}
    elif citation.url:
        fields["location"] = {"web": {"url": citation.url}}
    if citation.title:
        fields["title"] = citation.title
    if citation.cited_text:
        fields["sourceContent"] = [{"text": citation.cited_text}]
    return fields


def is_own(citation: Citation) -> bool:
    """Whether it came in this dialect; only then the backend takes it back."""
    return isinstance((citation.extra or {}).get("location"), dict)
