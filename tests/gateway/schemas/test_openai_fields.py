"""Single fields of OpenAI bodies: read and changed so that every other byte and every reader's view stays right."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.openai.fields import (
    ask_for_usage,
    is_usage_alone,
    read_error,
    read_request,
    read_usage,
    replace_model,
    set_request_model,
    without_duplicate_model,
)
from gateway.types import Usage
from tests.support import recordings

DEEP = b"[" * 100_000 + b"]" * 100_000

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
requests = st.dictionaries(names, values, max_size=5)
LETTERS = "model"


def pairs_of(body: bytes) -> list[tuple[str, Any]]:
    """The members of an object, duplicates included."""
    pairs: list[tuple[str, Any]] = json.loads(body, object_pairs_hook=list)
    return pairs


# The head of a request.


@pytest.mark.parametrize(
    ("body", "model", "stream", "wants_usage"),
    [
        (b'{"model":"m"}', "m", None, False),
        (b' \n{"model" : "m", "stream": true}\n', "m", True, False),
        (b'{"model":"m","stream":null,"stream_options":null}', "m", None, False),
        (b'{"model":"m","stream":false}', "m", False, False),
        (b'{"model":"m","stream_options":{}}', "m", None, False),
        (b'{"model":"m","stream_options":{"include_usage":null}}', "m", None, False),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', "m", True, True),
        (b'{"model":"a","model":"b"}', "b", None, False),
        (b'{"mod\\u0065l":"m"}', "m", None, False),
        (b'{"x":{"model":"inner"},"model":"m"}', "m", None, False),
        (b'{"model":"m","seed":' + b"9" * 5000 + b"}", "m", None, False),
        (b'{"model":"m","seed":1e999}', "m", None, False),
        (b'{"model":"m","Models":"n","x":{"Model":"inner"}}', "m", None, False),
        ('{"model":"zwölf 🙂"}'.encode(), "zwölf 🙂", None, False),
        (b'{"model":"\\ud83d\\ude42"}', "🙂", None, False),
    ],
)
def test_head_of_a_request(body: bytes, model: str, stream: bool | None, wants_usage: bool) -> None:
    head = read_request(body)
    assert (head.model, head.stream, head.wants_usage) == (model, stream, wants_usage)


@pytest.mark.parametrize(
    ("body", "reason", "param"),
    [
        (b"", "INVALID_JSON", None),
        (b"{", "INVALID_JSON", None),
        (b'{"model":"m"} x', "INVALID_JSON", None),
        (b"\xef\xbb\xbf{}", "INVALID_JSON", None),
        (b'{"model":"\xff"}', "INVALID_JSON", None),
        (b'{"model":"\\ud800"}', "INVALID_JSON", None),
        (b"{'model':'m'}", "INVALID_JSON", None),
        (b'{"model":"m","x":NaN}', "INVALID_JSON", None),
        (b'{"model":"m","x":' + DEEP + b"}", "INVALID_JSON", None),
        ('{"model":"m"}'.encode("utf-16"), "INVALID_JSON", None),
        (b"[]", "INVALID_REQUEST", None),
        (b"null", "INVALID_REQUEST", None),
        (b'"model"', "INVALID_REQUEST", None),
        (b"{}", "INVALID_REQUEST", "model"),
        (b'{"Model":"m"}', "INVALID_REQUEST", "Model"),
        (b'{"model":"m","MODEL":"n"}', "INVALID_REQUEST", "MODEL"),
        (b'{"model":"m","\\u004dodel":"n"}', "INVALID_REQUEST", "Model"),
        (b'{"moDel":["n"],"model":"m"}', "INVALID_REQUEST", "moDel"),
        (b'{"model":null}', "INVALID_REQUEST", "model"),
        (b'{"model":5}', "INVALID_REQUEST", "model"),
        (b'{"model":["m"]}', "INVALID_REQUEST", "model"),
        (b'{"model":""}', "INVALID_REQUEST", "model"),
        (b'{"model":"m","stream":"true"}', "INVALID_REQUEST", "stream"),
        (b'{"model":"m","stream":1}', "INVALID_REQUEST", "stream"),
        (b'{"model":"m","stream_options":[]}', "INVALID_REQUEST", "stream_options"),
        (b'{"model":"m","stream_options":{"include_usage":"x"}}', "INVALID_REQUEST", "stream_options.include_usage"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, reason: str, param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_request(body)
    assert (caught.value.reason, caught.value.param) == (reason, param)


# Another model in a request.


@given(requests, names)
def test_only_the_model_changes(request: dict[str, Any], model: str) -> None:
    body = json.dumps({**request, "model": "m"}).encode()
    assert pairs_of(set_request_model(body, model)) == [
        (name, model if name == "model" else value) for name, value in pairs_of(body)
    ]


def test_values_keep_their_bytes() -> None:
    body = b'{"a": 1.50, "model":"m","b":{ "x":"\\u00e9", "n": 123456789012345678901234567890 },"c":1e400}'
    assert (
        set_request_model(body, "n")
        == b'{"a":1.50,"model":"n","b":{ "x":"\\u00e9", "n": 123456789012345678901234567890 },"c":1e400}'
    )


def test_names_that_need_escapes_stay_the_same_names() -> None:
    body = b'{"model":"m","q\\"\\\\\\n\\u0001":1,"\\u00e9":2}'
    assert json.loads(set_request_model(body, 'a"b\n')) == {"model": 'a"b\n', 'q"\\\n\x01': 1, "é": 2}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"a":', b'{"\xff":1}', b'{"model":"m","x":' + DEEP + b"}"])
def test_model_cannot_be_set_in_what_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        set_request_model(body, "m")
    assert caught.value.reason == "INVALID_JSON"


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.booleans(), st.booleans())
def test_every_reader_finds_the_model_that_was_routed(escaped: list[bool], upper: bool, escaped_first: bool) -> None:
    """Of a model named twice, once perhaps in escapes, readers that take the first and the last agree afterwards."""
    code = "\\u%04X" if upper else "\\u%04x"
    name = "".join(
        code % ord(letter) if is_escaped else letter for letter, is_escaped in zip(LETTERS, escaped, strict=True)
    )
    members = [f'"{name}":"hidden"', '"model":"routed"'] if escaped_first else [f'"{name}":"routed"']
    body = ("{" + ",".join(members) + ',"x":1}').encode()
    routed = read_request(body).model
    assert routed == "routed"
    sent = pairs_of(without_duplicate_model(body, routed))
    assert [value for key, value in sent if key == "model"] == ["routed"]
    assert ("x", 1) in sent


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{ "stream" : true, "model" : "m" }',
        b'{"model":"m","messages":[{"content":"the model \\u00e9"}]}',
        b'{"model":"m","x":{"model":"inner"}}',
        b'{"x":"model","model":"m"}',
        b'{"model":"m","text":"\\u006d"}',
    ],
)
def test_plain_request_passes_byte_for_byte(body: bytes) -> None:
    assert without_duplicate_model(body, "m") is body


# Another model in an answer.


@given(requests, names)
def test_answer_gets_the_model_the_caller_used(answer: dict[str, Any], model: str) -> None:
    body = json.dumps({**answer, "model": "m"}).encode()
    assert json.loads(replace_model(body, model)) == {**answer, "model": model}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"id":1}', b"[DONE]", b'{"model":"m"', b'{"model":"m","x":' + DEEP + b"}"]
)
def test_answer_without_a_model_is_left_alone(body: bytes) -> None:
    assert replace_model(body, "n") is body


# Usage and errors.


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, Usage(input_tokens=5, output_tokens=7)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(input_tokens=5)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 2},
            },
            Usage(
                input_tokens=5,
                output_tokens=7,
                cached_input_tokens=3,
                reasoning_tokens=6,
                audio_input_tokens=1,
                audio_output_tokens=2,
            ),
        ),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage()),
        ({"prompt_tokens_details": {"cached_tokens": None}}, Usage()),
        ({"prompt_tokens": 5, "num_cached_tokens": 4}, Usage(input_tokens=5, cached_input_tokens=4)),
        ({"prompt_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(input_tokens=5, cached_input_tokens=4)),
        (
            {"prompt_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(input_tokens=5, cached_input_tokens=4),
        ),
        ({"prompt_tokens": -5, "completion_tokens": 7}, Usage(output_tokens=7)),
        ({"prompt_tokens": 10**30}, Usage(input_tokens=2**63 - 1)),
    ],
)
def test_usage(usage: dict[str, Any], expected: Usage) -> None:
    assert read_usage(json.dumps({"id": "a", "usage": usage}).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"usage":null}',
        b'{"usage":5}',
        b'{"usage":{"prompt_tokens":"5"}}',
        b'{"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}",
        b'{"usage":{},"x":' + DEEP + b"}",
    ],
)
def test_no_usage_to_be_read(body: bytes) -> None:
    assert read_usage(body) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no","type":"t","code":"c","param":null}}', "no"),
        (b'{"error":{"message":"no","code":400}}', "no"),
        (b'{"error":"no"}', "no"),
        (b'{"error":{}}', "the upstream gave no message"),
        (b'{"error":{"message":null}}', "the upstream gave no message"),
        (b'{"error":{"message":["no"]}}', "the upstream gave no message"),
        (b'{"error":null}', None),
        (b'{"error":[]}', None),
        (b'{"message":"no"}', None),
        (b'{"detail":[{"loc":["body"]}]}', None),
        (b"{}", None),
        (b"", None),
        (b"<html>", None),
        (b'{"error":{"code":' + DEEP + b"}}", None),
    ],
)
def test_error(body: bytes, message: str | None) -> None:
    assert read_error(body) == message


@pytest.mark.component("recordings")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai/chat-completions/error-401", "Incorrect API key provided"),
        ("openai/chat-completions/error-404", "The model `gpt-4.1-nano-wrong` does not exist"),
        ("openai/chat-completions/error-400-image-input", "Error while downloading"),
        ("openai/embeddings/error-400-dimensions-token-input", "-1 is less than the minimum of 1"),
        ("openrouter/chat-completions/error-429-system", "Provider returned error"),
        ("azure/chat-completions/error-404-reasoning", "The API deployment for this resource does not exist"),
    ],
)
def test_recorded_error(name: str, message: str) -> None:
    recording = recordings.load(name)
    assert recording.status >= 400
    assert (read_error(recording.answer) or "").startswith(message)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recordings.names(["chat-completions", "embeddings"]))
def test_recorded_request_is_read_and_renamed(name: str) -> None:
    request = recordings.load(name).request
    body = json.dumps(request).encode()
    if "model" not in request:  # Azure's deployments stand in the path
        with pytest.raises(InvalidRequestError):
            read_request(body)
    else:
        assert read_request(body).model == request["model"]
        assert bool(read_request(body).stream) == bool(request.get("stream"))
        assert json.loads(set_request_model(body, "other")) == {**request, "model": "other"}


# The usage of streams.


@pytest.mark.parametrize(
    ("body", "asking"),
    [
        (b'{"model":"m","stream":true}', b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null,"model":"m"}', b'{"stream_options":{"include_usage":true},"model":"m"}'),
        (
            b'{"model":"m","stream_options":{"a": 1 ,"include_usage":false},"x":[1, 2]}',
            b'{"model":"m","stream_options":{"a":1,"include_usage":true},"x":[1, 2]}',
        ),
    ],
)
def test_usage_is_asked_for_and_all_else_stays(body: bytes, asking: bytes) -> None:
    assert ask_for_usage(body) == asking


def test_request_that_asks_for_its_usage_is_the_very_same() -> None:
    body = b'{"model":"m", "stream_options": {"include_usage": true}}'
    assert ask_for_usage(body) is body


@pytest.mark.parametrize(
    ("data", "is_alone"),
    [
        (b'{"choices":[],"usage":{}}', True),
        (b'{"usage":{"prompt_tokens":1}}', True),
        (b'{"choices":null,"usage":{}}', True),
        (b'{"choices":[],"usage":null}', False),
        (b'{"choices":[{}],"usage":{}}', False),
        (b'{"choices":[]}', False),
        (b"[DONE]", False),
        (b"", False),
    ],
)
def test_usage_alone(data: bytes, is_alone: bool) -> None:
    assert is_usage_alone(data) is is_alone
