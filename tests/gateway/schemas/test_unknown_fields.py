"""Fields that only later versions of a dialect have: kept for its own backends, and refused by name elsewhere."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_RESPONSES,
)

USER = {"role": "user", "content": "hello"}
ASKED: dict[ChatDialect, dict[str, Any]] = {
    OPENAI_CHAT: {"model": "m", "messages": [USER]},
    OPENAI_RESPONSES: {"model": "m", "input": [USER]},
    OPENAI_COMPLETIONS: {"model": "m", "prompt": "hello"},
    ANTHROPIC_MESSAGES: {"model": "m", "max_tokens": 5, "messages": [USER]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    BEDROCK_CONVERSE: {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
    COHERE_CHAT: {"model": "m", "messages": [USER]},
    OLLAMA_CHAT: {"model": "m", "messages": [USER], "stream": False},
}
NAMES = st.text("abcXYZ", min_size=1, max_size=8).map("later{}".format)
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(NAMES, inner | st.none(), max_size=3),
    max_leaves=6,
)

every_dialect = pytest.mark.parametrize("dialect", ASKED, ids=lambda dialect: dialect.name)


@every_dialect
@given(fields=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_fields_that_are_not_known_reach_backends_of_the_same_dialect(
    dialect: ChatDialect, fields: dict[str, Any]
) -> None:
    request = dialect.decode_request(json.dumps({**ASKED[dialect], **fields}).encode(), "m")
    assert request.extra == fields
    body = json.loads(dialect.encode_request(request, "m", stream=False, drop_unsupported=False))
    assert fields.items() <= body.items()
    assert dialect.decode_request(json.dumps(body).encode(), "m").extra == fields


@every_dialect
def test_fields_that_are_not_known_are_refused_by_name_elsewhere(dialect: ChatDialect) -> None:
    request = dialect.decode_request(json.dumps({**ASKED[dialect], "later": {"a": None}}).encode(), "m")
    for target in ASKED:
        if target is not dialect:
            with pytest.raises(InvalidRequestError) as caught:
                target.encode_request(request, "m", stream=False, drop_unsupported=False)
            assert caught.value.param == "later"
            assert b"later" not in target.encode_request(request, "m", stream=False, drop_unsupported=True)
