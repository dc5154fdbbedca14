"""Ranking in both forms: requests and answers, to canonical and back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.table import COHERE_RERANK, OPENAI_RERANK
from gateway.schemas.whole_dialect import RerankDialect
from gateway.types import RankedDocument, RerankAnswer, RerankRequest, Usage
from tests.gateway.schemas import recorded_exchanges as recorded

dialects = pytest.mark.parametrize("dialect", [COHERE_RERANK, OPENAI_RERANK], ids=["cohere", "openai"])
texts = st.text(max_size=8)
requests = st.builds(
    RerankRequest,
    model=st.just("m"),
    query=texts,
    documents=st.lists(texts, min_size=1, max_size=4).map(tuple),
    top_n=st.none() | st.integers(1, 9),
)
scores = st.lists(st.floats(-10, 10), min_size=1, max_size=5)
counts = st.integers(0, 2**40)


@dialects
@given(request=requests)
def test_decoding_what_was_encoded_gives_the_same(dialect: RerankDialect, request: RerankRequest) -> None:
    body = dialect.encode_request(request, "m", drop_unsupported=False)
    found = dialect.decode_request(body, "m")
    assert (found.query, found.documents, found.top_n, found.extra) == (
        request.query,
        request.documents,
        request.top_n,
        None,
    )


@dialects
@given(scores=scores, tokens=counts, units=counts)
def test_answer_and_its_way_back(dialect: RerankDialect, scores: list[float], tokens: int, units: int) -> None:
    ordered = sorted(range(len(scores)), key=lambda index: -scores[index])
    results = tuple(RankedDocument(index=index, score=scores[index]) for index in ordered)
    units = units if dialect is COHERE_RERANK else 0
    answer = RerankAnswer(results=results, usage=Usage(input_tokens=tokens, search_units=units))
    request = RerankRequest(model="m", query="q", documents=("x",) * len(scores))
    body = dialect.encode_answer(answer, request, "m")
    assert dialect.decode_answer(body) == answer
    assert dialect.read_usage(body) == answer.usage


@dialects
def test_own_fields_survive(dialect: RerankDialect) -> None:
    fields = {"model": "m", "query": "q", "documents": ["x"], "priority": 3}
    request = dialect.decode_request(json.dumps(fields).encode(), "m")
    assert request.extra == {"priority": 3}
    assert json.loads(dialect.encode_request(request, "m", drop_unsupported=False)) == fields


def test_field_that_has_a_place_of_its_own_cannot_be_extra() -> None:
    request = RerankRequest(model="m", query="q", documents=("x",), extra={"query": "other"})
    with pytest.raises(InvalidRequestError) as refused:
        COHERE_RERANK.encode_request(request, "m", drop_unsupported=False)
    assert refused.value.param == "extra.query"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 7}, 7),
        ({"prompt_tokens": 7, "total_tokens": 7}, 7),
        ({"prompt_tokens": 7}, 7),
        ({"total_tokens": -7}, 0),
        ({}, 0),
    ],
)
def test_usage_of_servers(usage: dict[str, Any], tokens: int) -> None:
    body = json.dumps({"results": [], "usage": usage}).encode()
    assert OPENAI_RERANK.read_usage(body) == Usage(input_tokens=tokens)
    assert OPENAI_RERANK.decode_answer(body).usage == Usage(input_tokens=tokens)


@dialects
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usage": 7, "meta": 7}', b"{}"])
def test_answer_without_usage(dialect: RerankDialect, body: bytes) -> None:
    assert dialect.read_usage(body) is None


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("cohere/v2-rerank/*"))
def test_recorded_exchange(name: str) -> None:
    exchange = recorded.load(name)
    request = COHERE_RERANK.decode_request(exchange.body, "m")
    sent = json.loads(COHERE_RERANK.encode_request(request, exchange.request["model"], drop_unsupported=False))
    assert sent == exchange.request
    answer = COHERE_RERANK.decode_answer(exchange.answer)
    told = json.loads(exchange.answer)
    assert [(each.index, each.score) for each in answer.results] == [
        (each["index"], each["relevance_score"]) for each in told["results"]
    ]
    assert answer.usage.search_units == told["meta"]["billed_units"]["search_units"] > 0
    assert COHERE_RERANK.read_usage(exchange.answer) == answer.usage
