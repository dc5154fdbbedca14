"""What a dialect has no place for: an error with its name, or nothing at all."""

import json

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.schemas.unsupported import Unsupported, says_something
from gateway.types import ChatRequest, FilePart, JsonValue, Message, Role, TextPart


def test_field_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"seed cannot be carried: .* speaks Klingon") as caught:
        Unsupported("Klingon", drop=False).field("seed")
    assert (caught.value.param, caught.value.reason) == ("seed", "UNSUPPORTED_FIELD")


def test_what_it_is_may_be_told_in_words() -> None:
    with pytest.raises(InvalidRequestError, match=r"^sound: ") as caught:
        Unsupported("Klingon", drop=False).field("messages", "sound")
    assert caught.value.param == "messages"


def test_nothing_happens_where_fields_are_dropped() -> None:
    Unsupported("Klingon", drop=True).field("seed")


def test_fields_about_the_cache_of_prompts_are_no_reason_to_refuse() -> None:
    fields = {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"}}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    request = OPENAI_CHAT.decode_request(json.dumps(body).encode(), "m")
    assert b"cache" not in GEMINI.encode_request(request, "m", stream=False, drop_unsupported=False)


FILES = pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"context": "of May"}, "context"),
        ({"citations": {"enabled": True}}, "citations"),
        ({"videoMetadata": {"fps": 2}, "context": "of May"}, "context"),
    ],
)
DIALECTS = pytest.mark.parametrize("dialect", [OPENAI_CHAT, OPENAI_RESPONSES, GEMINI], ids=lambda dialect: dialect.name)


def with_file(extra: dict[str, JsonValue]) -> ChatRequest:
    file = FilePart(url="data:text/plain;base64,aGVsbG8=", media_type="text/plain", extra=extra)
    message = Message(role=Role.USER, content=(TextPart(text="read"), file))
    return ChatRequest(model="m", messages=(message,), dialect="theirs")


@DIALECTS
@FILES
def test_what_is_said_of_a_file_is_refused_by_name(
    dialect: ChatDialect, extra: dict[str, JsonValue], named: str
) -> None:
    if dialect is not GEMINI and "videoMetadata" in extra:
        named = "videoMetadata"
    with pytest.raises(InvalidRequestError, match=f"'{named}' of a file") as caught:
        dialect.encode_request(with_file(extra), "m", stream=False, drop_unsupported=False)
    assert caught.value.param == "messages"
    assert b"aGVsbG8=" in dialect.encode_request(with_file(extra), "m", stream=False, drop_unsupported=True)


@DIALECTS
@pytest.mark.parametrize(
    "extra",
    [{"citations": {"enabled": False}}, {"detail": "auto"}, {"source": {"type": "content", "content": "hello"}}],
)
def test_what_changes_nothing_of_a_file_is_no_reason_to_refuse_it(
    dialect: ChatDialect, extra: dict[str, JsonValue]
) -> None:
    assert b"aGVsbG8=" in dialect.encode_request(with_file(extra), "m", stream=False, drop_unsupported=False)


@pytest.mark.parametrize("value", [0, 0.0, 1, True, "x", [0], {"a": None}])
def test_what_says_something_is_not_left_out_without_a_word(value: object) -> None:
    assert says_something(value)


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_what_says_nothing(value: object) -> None:
    assert not says_something(value)
