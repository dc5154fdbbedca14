"""Ranking as Cohere's versions 1 and 2 and all servers after them write it; they differ in little."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.json_fields import Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import RankedDocument, RerankAnswer, RerankRequest


class Result(msgspec.Struct):
    """A text's place and score; what else stands there, such as the text itself, the request has too."""

    index: int
    relevance_score: float


def decode_request(fields: Fields, model: str, documents: Sequence[str], dialect: str) -> RerankRequest:
    """The canonical request; `documents` have been read. Raises `FieldError`."""
    fields.value("model")
    if not documents:
        raise fields.wrong("documents", "at least one text is needed")
    top_n = fields.integer("top_n")
    if top_n is not None and top_n < 1:
        raise fields.wrong("top_n", "must be at least 1")
    return RerankRequest(
        model=model,
        query=fields.text("query"),
        documents=tuple(documents),
        top_n=top_n,
        returns_documents=bool(fields.truth("return_documents")),
        dialect=dialect,
        extra=fields.extra or None,
    )


def encode_request(request: RerankRequest, model: str, dialect: str, unsupported: Unsupported) -> bytes:
    """The body that asks `model`. The texts are not asked for: whoever wants them back has them in the request."""
    fields: dict[str, Any] = {"model": model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        fields["top_n"] = request.top_n
    for name, value in (request.extra or {}).items():
        if request.dialect not in ("", dialect):
            unsupported.field(name)
        elif name in fields:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value
    return msgspec.json.encode(fields)


def ranked(results: Sequence[Result]) -> tuple[RankedDocument, ...]:
    """The best first, in which order not every server has them."""
    best_first = sorted(results, key=lambda result: -result.relevance_score)
    return tuple(RankedDocument(index=result.index, score=result.relevance_score) for result in best_first)


def encode_answer(answer: RerankAnswer, request: RerankRequest, model: str, rest: Mapping[str, Any]) -> bytes:
    """The answer, with the fields of `rest` beside the results.

    Raises `BadGatewayError` for places that no text of the request has.
    """
    results: list[dict[str, Any]] = []
    for each in answer.results[: request.top_n]:
        if not 0 <= each.index < len(request.documents):
            raise malformed(f"there is no text number {each.index}")
        result: dict[str, Any] = {"index": each.index, "relevance_score": each.score}
        if request.returns_documents:
            result["document"] = {"text": request.documents[each.index]}
        results.append(result)
    identifier = hashlib.sha256(msgspec.json.encode((model, request.query, request.documents))).hexdigest()[:32]
    return msgspec.json.encode({"id": identifier, "results": results, **rest})


def decode(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """What a decoder makes of an answer. Raises `BadGatewayError`."""
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise malformed(error) from None
