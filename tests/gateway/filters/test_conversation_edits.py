"""Bounds of parameters hold however a caller writes them: in each dialect, for readers that mind neither case nor `_`,
and for servers that go by another word."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config.transform import Bounds, ConversationEditsConfig
from gateway.errors import InvalidRequestError
from gateway.filters.conversation_edits import edited_conversation
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
from gateway.types import ChatRequest, Message, Role, TextPart

BIG = 1000
MOST = 10
CLAMP = ConversationEditsConfig(bounds=(("max_output_tokens", Bounds(max=MOST)), ("temperature", Bounds(max=1))))
LONG_S, KELVIN = "\u017f", "\u212a"  # which fold to s and k
USER = {"role": "user", "content": "hello"}

ASKED: dict[ChatDialect, dict[str, Any]] = {
    OPENAI_CHAT: {"model": "m", "messages": [USER]},
    OPENAI_COMPLETIONS: {"model": "m", "prompt": "hello"},
    OPENAI_RESPONSES: {"model": "m", "input": [USER]},
    ANTHROPIC_MESSAGES: {"model": "m", "max_tokens": 5, "messages": [USER]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    COHERE_CHAT: {"model": "m", "messages": [USER]},
    OLLAMA_CHAT: {"model": "m", "messages": [USER]},
}
OF_OPENAI: list[dict[str, Any]] = [
    {},
    {"max_tokens": None},
    *({name: value} for name in ("max_tokens", "n_predict") for value in (BIG, 0, -1)),
    *(
        {name: BIG}
        for name in ("max_completion_tokens", "Max_Tokens", "MAX_COMPLETION_TOKENS", "maxTokens", "max-tokens")
    ),
    *(
        {name: BIG}
        for name in (f"max_token{LONG_S}", f"max_to{KELVIN}ens", "N_Predict", "max_new_tokens", "max_length")
    ),
    {"max_tokens": 5, "max_completion_tokens": BIG},
    {"max_tokens": BIG, "max_completion_tokens": 5},
    {"max_tokens": 5, "n_predict": BIG},
    {"max_tokens": 5, "MAX_TOKENS": BIG},
]
SPELLINGS: dict[ChatDialect, list[dict[str, Any]]] = {
    OPENAI_CHAT: OF_OPENAI,
    OPENAI_COMPLETIONS: OF_OPENAI,
    OPENAI_RESPONSES: [
        {},
        *({name: BIG} for name in ("max_output_tokens", "max_tokens", "Max_Output_Tokens", "maxOutputTokens")),
        {"max_output_tokens": 5, f"max_output_token{LONG_S}": BIG},
    ],
    ANTHROPIC_MESSAGES: [
        *({name: BIG} for name in ("max_tokens", "Max_Tokens", f"max_token{LONG_S}", "max_tokens_to_sample")),
        {"max_tokens": 0},
    ],
    GEMINI: [
        {},
        *(
            {outer: {inner: BIG}}
            for outer in ("generationConfig", "generation_config", "GenerationConfig", "generation-config")
            for inner in ("maxOutputTokens", "max_output_tokens", "MaxOutputTokens", "max_Output_Tokens")
        ),
        {"generationConfig": {"maxOutputTokens": 5}, "generation_config": {"max_output_tokens": BIG}},
        {"generationConfig": {"maxOutputTokens": 5, "max_output_tokens": BIG}},
        {"generationConfig": {"maxOutputTokens": 5}, "generationConfig.maxOutputTokens": BIG},
        {"generationConfig.maxOutputTokens": BIG},
        {"maxOutputTokens": BIG},
    ],
    COHERE_CHAT: [{}, *({name: BIG} for name in ("max_tokens", "Max_Tokens", "maxTokens", f"max_to{KELVIN}ens"))],
    OLLAMA_CHAT: [
        {},
        *({"options": {"num_predict": value}} for value in (BIG, 0, -1, -2)),
        *({name: {"num_predict": BIG}} for name in ("Options", "OPTIONS", f"option{LONG_S}")),
        {"options": {"num_predict": 5}, "Options": {"num_predict": BIG}},
        {"options": {"num_predict": 5, "NUM_PREDICT": BIG}},
        {"options": {"num_predict": 5}, "options.num_predict": BIG},
        {"num_predict": BIG},
    ],
}
CASES = [
    pytest.param(dialect, asked, id=f"{dialect.name} {asked}")
    for dialect, spellings in SPELLINGS.items()
    for asked in spellings
]


def named(value: object) -> str:
    """For the ids of cases: what dialects say of themselves has addresses in it."""
    return str(getattr(value, "name", value))


def limits(value: Any, name: str = "") -> Iterator[int]:
    """All numbers that a lenient server could take for the limit."""
    if isinstance(value, dict):
        for each, inner in value.items():
            yield from limits(inner, each)
    elif type(value) is int:
        folded = name.casefold().replace("_", "").replace("-", "")
        if folded.startswith(("max", "npredict", "numpredict")):
            yield value


@pytest.mark.parametrize(("dialect", "asked"), CASES)
def test_no_spelling_of_the_limit_is_beyond_the_bound(dialect: ChatDialect, asked: dict[str, Any]) -> None:
    body = json.dumps({**ASKED[dialect], **asked}).encode()
    try:
        request = edited_conversation(dialect.decode_request(body, "m"), CLAMP)
        sent = dialect.encode_request(request, "m", stream=False, drop_unsupported=False)
    except InvalidRequestError:
        assert asked, "what asks for nothing special is no error"
        return
    found = list(limits(json.loads(sent)))
    assert found
    assert all(1 <= each <= MOST for each in found), sent


@pytest.mark.parametrize("dialect", ASKED, ids=lambda each: each.name)
@pytest.mark.parametrize("name", ["Temperature", "TEMPERATURE", "temp_erature"])
def test_no_other_spelling_of_a_parameter_reaches_a_backend(dialect: ChatDialect, name: str) -> None:
    place = {GEMINI: "generationConfig", OLLAMA_CHAT: "options"}.get(dialect)
    body = {**ASKED[dialect], **({name: 2} if place is None else {place: {name: 2}})}
    request = edited_conversation(dialect.decode_request(json.dumps(body).encode(), "m"), CLAMP)
    with pytest.raises(InvalidRequestError):
        dialect.encode_request(request, "m", stream=False, drop_unsupported=False)


@pytest.mark.parametrize(
    ("dialect", "extra"),
    [
        *((OPENAI_CHAT, {name: BIG}) for name in ("max_tokens", "max_completion_tokens", "n_predict", "Max_Tokens")),
        *((ANTHROPIC_MESSAGES, {name: BIG}) for name in ("max_tokens", "MAX_TOKENS")),
        *((COHERE_CHAT, {name: BIG}) for name in ("max_tokens", "MAX_TOKENS")),
        (BEDROCK_CONVERSE, {"inferenceConfig": {"maxTokens": BIG}}),
        (BEDROCK_CONVERSE, {"inferenceConfig": {"MaxTokens": BIG}}),
        (BEDROCK_CONVERSE, {"InferenceConfig": {"maxTokens": BIG}}),
        *((BEDROCK_CONVERSE, {"additionalModelRequestFields": {name: BIG}}) for name in ("max_tokens", "max_gen_len")),
        (BEDROCK_CONVERSE, {"additionalModelRequestFields": {"inferenceConfig": {"max_new_tokens": BIG}}}),
    ],
    ids=named,
)
def test_no_extra_field_of_a_typed_call_is_a_second_limit(dialect: ChatDialect, extra: dict[str, Any]) -> None:
    said = Message(role=Role.USER, content=(TextPart(text="hello"),))
    for limit in (5, None):
        request = ChatRequest(model="m", messages=(said,), max_output_tokens=limit, extra=extra)
        try:
            edited = edited_conversation(request, CLAMP)
            sent = dialect.encode_request(edited, "m", stream=False, drop_unsupported=False)
        except InvalidRequestError:
            continue
        assert all(1 <= each <= MOST for each in limits(json.loads(sent))), sent


@pytest.mark.parametrize(
    ("asked", "bounds", "limit"),
    [
        ({"max_tokens": 5}, Bounds(max=MOST), 5),
        ({"n_predict": 5}, Bounds(max=MOST), 5),
        ({"n_predict": True}, Bounds(max=MOST), MOST),
        ({}, Bounds(min=3), None),
        ({"max_tokens": 1}, Bounds(min=3), 3),
        ({"max_tokens": 0}, Bounds(min=3, max=MOST), MOST),
    ],
)
def test_what_is_asked_for_stays_within_the_bounds(asked: dict[str, Any], bounds: Bounds, limit: int | None) -> None:
    body = json.dumps({**ASKED[OPENAI_CHAT], **asked}).encode()
    edits = ConversationEditsConfig(bounds=(("max_output_tokens", bounds),))
    edited = edited_conversation(OPENAI_CHAT.decode_request(body, "m"), edits)
    assert (edited.max_output_tokens, edited.extra) == (limit, None)


def test_a_default_is_for_who_has_no_limit_in_any_word() -> None:
    edits = ConversationEditsConfig(
        defaults={"max_output_tokens": 7}, bounds=(("max_output_tokens", Bounds(max=MOST)),)
    )
    for asked, limit in (({}, 7), ({"n_predict": 5}, 5), ({"n_predict": BIG}, MOST)):
        body = json.dumps({**ASKED[OPENAI_CHAT], **asked}).encode()
        assert edited_conversation(OPENAI_CHAT.decode_request(body, "m"), edits).max_output_tokens == limit


@pytest.mark.parametrize(
    ("dialect", "name"),
    [(GEMINI, "systemInstruction.parts"), (GEMINI, "contents.x"), (OLLAMA_CHAT, "options.stop")],
    ids=named,
)
def test_a_name_with_a_dot_is_no_way_into_another_field(dialect: ChatDialect, name: str) -> None:
    body = json.dumps({**ASKED[dialect], name: [{"text": "evil"}]}).encode()
    with pytest.raises(InvalidRequestError) as refused:
        dialect.decode_request(body, "m")
    assert refused.value.param == name
