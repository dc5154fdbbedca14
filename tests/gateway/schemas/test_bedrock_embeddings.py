"""Embeddings of Bedrock's models: what each maker is sent, and what is read in its answers."""

import json
from typing import Any

import pytest

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.bedrock.embeddings import BedrockEmbeddings
from gateway.schemas.whole_dialect import read_answer
from gateway.types import EmbeddingPurpose, EmbeddingsRequest, Usage
from tests.support import recordings

EMBED = BedrockEmbeddings()
TITAN, NOVA, COHERE = (
    "amazon.titan-embed-text-v2:0",
    "amazon.nova-2-multimodal-embeddings-v1:0",
    "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.cohere.embed-v4:0",
)


def encode(model: str, *texts: str, drop: bool = False, **fields: Any) -> Any:
    request = EmbeddingsRequest(model="asked", input=texts or ("a",), **fields)
    return json.loads(EMBED.encode_request(request, model, drop_unsupported=drop))


def test_what_each_maker_is_sent() -> None:
    assert encode(TITAN) == {"inputText": "a"}
    assert encode("amazon.titan-embed-g1-text-02", purpose=EmbeddingPurpose.QUERY) == {"inputText": "a"}
    assert encode(COHERE, "a", "b", purpose=EmbeddingPurpose.QUERY, dimensions=256) == {
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }
    assert EMBED.path(COHERE, stream=False).endswith("%2Feu.cohere.embed-v4%3A0/invoke")


def test_nova_is_sent_what_was_recorded() -> None:
    recording = recordings.load("bedrock/invoke/basic")
    params = recording.request["singleEmbeddingParams"]
    sent = encode(
        NOVA, params["text"]["value"], purpose=EmbeddingPurpose.QUERY, dimensions=params["embeddingDimension"]
    )
    assert sent == recording.request
    (vector,) = EMBED.decode_answer(recording.answer).vectors
    assert len(vector) == 256
    assert EMBED.read_usage(recording.answer) is None


@pytest.mark.parametrize("purpose", [None, *EmbeddingPurpose])
def test_purposes_of_nova(purpose: EmbeddingPurpose | None) -> None:
    if purpose is EmbeddingPurpose.SIMILARITY:
        with pytest.raises(InvalidRequestError, match="purpose"):
            encode(NOVA, purpose=purpose)
    assert encode(NOVA, purpose=purpose, drop=True)["singleEmbeddingParams"]["embeddingPurpose"].isupper()


@pytest.mark.parametrize("model", [TITAN, NOVA, COHERE])
@pytest.mark.parametrize(("param", "fields"), [("user", {"user": "u"}), ("x", {"dialect": "other", "extra": {"x": 1}})])
def test_what_they_have_no_place_for(model: str, param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(model, **fields)
    assert caught.value.param == param
    assert encode(model, drop=True, **fields) == encode(model)


@pytest.mark.parametrize(
    ("model", "texts", "param"),
    [(TITAN, ("a", "b"), "input"), (NOVA, (), "input"), ("meta.llama3-8b-instruct-v1:0", ("a",), "model")],
)
def test_what_cannot_be_asked(model: str, texts: tuple[str, ...], param: str) -> None:
    request = EmbeddingsRequest(model="asked", input=texts)
    with pytest.raises(InvalidRequestError) as caught:
        EMBED.encode_request(request, model, drop_unsupported=True)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("answer", "vectors", "tokens"),
    [
        ({"embedding": [1, 2.5], "inputTextTokenCount": 3, "embeddingsByType": {}}, ((1.0, 2.5),), 3),
        ({"embeddings": [[1, 2.5], [3, 4]], "response_type": "embeddings_floats"}, ((1.0, 2.5), (3.0, 4.0)), 0),
        ({"embeddings": {"float": [[1, 2.5]]}, "response_type": "embeddings_by_type"}, ((1.0, 2.5),), 0),
        ({"embeddings": [{"embeddingType": "TEXT", "embedding": [1, 2.5]}]}, ((1.0, 2.5),), 0),
    ],
)
def test_answers(answer: Any, vectors: Any, tokens: int) -> None:
    told = EMBED.decode_answer(json.dumps(answer).encode())
    assert (told.vectors, told.usage) == (vectors, Usage(input_tokens=tokens))


@pytest.mark.parametrize(
    ("body", "header", "tokens"),
    [
        ({"embeddings": [[1, 2.5]]}, (b"X-Amzn-Bedrock-Input-Token-Count", b"7"), 7),
        ({"embeddings": [[1, 2.5]]}, (b"x-amzn-bedrock-input-token-count", b"many"), 0),
        ({"embeddings": [[1, 2.5]]}, (b"content-type", b"7"), 0),
        ({"embedding": [1], "inputTextTokenCount": 3}, (b"x-amzn-bedrock-input-token-count", b"7"), 3),
    ],
)
def test_tokens_that_only_a_header_tells(body: Any, header: tuple[bytes, bytes], tokens: int) -> None:
    told = read_answer(EMBED, json.dumps(body).encode(), [header])
    assert told.usage == Usage(input_tokens=tokens)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embedding":["a"]}', b'{"embeddings":[7]}', b'{"message":"no"}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError):
        EMBED.decode_answer(body)
    assert EMBED.read_usage(body) is None
