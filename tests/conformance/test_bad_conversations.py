"""Conversations that must be translated and cannot be: 400 in the dialect of the client, and where the fault is.
What is no conversation at all, or too large a one, is refused in that dialect too.

No backend is asked.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.dialect_backends import upstream_service
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream

NOT_BASE64 = "data:image/png;base64,@@@"
USER = {"role": "user", "content": "hello"}


def messages(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(contents)}]}


def openai_tool(**function: Any) -> dict[str, Any]:
    return {"messages": [USER], "tools": [{"type": "function", "function": function}]}


OPENAI: Mapping[str, tuple[dict[str, Any], str]] = {
    "no messages": ({}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "a message that is none": ({"messages": ["hello"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "a"}]}, "messages[0].role"),
    "a wrong role": ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    "an unknown part": (messages({"type": "smell"}), "messages[0].content[0].type"),
    "a part without a type": (messages({"text": "a"}), "messages[0].content[0].type"),
    "a picture without an address": (messages({"type": "image_url"}), "messages[0].content[0].image_url"),
    "a picture that is no base64": (
        messages({"type": "image_url", "image_url": {"url": NOT_BASE64}}),
        "messages[0].content[0].image_url.url",
    ),
    "sound that is no base64": (
        messages({"type": "input_audio", "input_audio": {"data": "@", "format": "wav"}}),
        "messages[0].content[0].input_audio.data",
    ),
    "a function without a name": (openai_tool(), "tools[0].function.name"),
    "a function whose schema is none": (openai_tool(name="f", parameters="none"), "tools[0].function.parameters"),
    "a choice that is none": ({"messages": [USER], "tool_choice": "perhaps"}, "tool_choice"),
    "a temperature that is none": ({"messages": [USER], "temperature": "warm"}, "temperature"),
    "a format that is none": ({"messages": [USER], "response_format": {"type": "poem"}}, "response_format.type"),
}
RESPONSES: Mapping[str, tuple[dict[str, Any], str]] = {
    "no input": ({}, "input"),
    "a wrong role": ({"input": [{"role": "robot", "content": "a"}]}, "input[0].role"),
    "an unknown part": ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input[0].content[0].type"),
    "an item that is none": ({"input": ["hello"]}, "input[0]"),
    "an unknown item": ({"input": [{"type": "smell"}]}, "input"),
    "a call without a name": (
        {"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]},
        "input[0].name",
    ),
    "a choice that is none": ({"input": "a", "tool_choice": "perhaps"}, "tool_choice"),
    "a temperature that is none": ({"input": "a", "temperature": "warm"}, "temperature"),
    "a picture that is no base64": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": NOT_BASE64}]}]},
        "input[0].content[0].image_url",
    ),
    "a function without a name": ({"input": "a", "tools": [{"type": "function"}]}, "tools[0].name"),
    "a function whose schema is none": (
        {"input": "a", "tools": [{"type": "function", "name": "f", "parameters": []}]},
        "tools[0].parameters",
    ),
}


def anthropic(**fields: Any) -> dict[str, Any]:
    return {"max_tokens": 5, "messages": [USER], **fields}


def anthropic_image(**source: Any) -> dict[str, Any]:
    return anthropic(**messages({"type": "image", "source": {"type": "base64", "media_type": "image/png", **source}}))


ANTHROPIC: Mapping[str, tuple[dict[str, Any], str]] = {
    "no limit": ({"messages": [USER]}, "max_tokens"),
    "no messages": ({"max_tokens": 5}, "messages"),
    "a wrong role": (anthropic(messages=[{"role": "robot", "content": "a"}]), "messages[0].role"),
    "a block without a type": (anthropic(**messages({"text": "a"})), "messages[0].content[0].type"),
    "an unknown block": (anthropic(**messages({"type": "smell"})), "'smell' in a message"),
    "a function whose schema is none": (anthropic(tools=[{"name": "f", "input_schema": []}]), "tools[0].input_schema"),
    "a function without a name": (anthropic(tools=[{"input_schema": {}}]), "tools[0].name"),
    "a temperature that is none": (anthropic(temperature="warm"), "temperature"),
    "a text that is none": (anthropic(**messages({"type": "text", "text": 5})), "messages[0].content[0].text"),
    "a picture without data": (anthropic_image(), "messages[0].content[0].source.data"),
    "a picture that is no base64": (anthropic_image(data="@@@"), "messages[0].content[0].source.data"),
    "a function without a schema": (anthropic(tools=[{"name": "f"}]), "tools[0].input_schema"),
    "a choice that is none": (anthropic(tool_choice={"type": "perhaps"}), "tool_choice.type"),
    "a call without an id": (
        anthropic(messages=[{"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]}]),
        "messages[0].content[0].id",
    ),
}


def gemini(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts) or [{"text": "a"}]}], **fields}


GEMINI: Mapping[str, tuple[dict[str, Any], str]] = {
    "no contents": ({}, "contents"),
    "a wrong role": ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role"),
    "a text that is none": (gemini({"text": 5}), "contents[0].parts[0].text"),
    "a picture that is no base64": (
        gemini({"inlineData": {"mimeType": "image/png", "data": "@@@"}}),
        "contents[0].parts[0].inlineData.data",
    ),
    "a content that is none": ({"contents": [5]}, "contents[0]"),
    "an unknown part": (gemini({"smell": "of roses"}), "'smell' in a message"),
    "a function without a name": (
        gemini(tools=[{"functionDeclarations": [{}]}]),
        "tools[0].functionDeclarations[0].name",
    ),
    "a call without a name": (gemini({"functionCall": {}}), "contents[0].parts[0].functionCall.name"),
    "a function whose schema is none": (
        gemini(tools=[{"functionDeclarations": [{"name": "f", "parameters": "none"}]}]),
        "tools[0].functionDeclarations[0].parameters",
    ),
    "a temperature that is none": (gemini(generationConfig={"temperature": "warm"}), "generationConfig.temperature"),
}
COHERE: Mapping[str, tuple[dict[str, Any], str]] = {
    "no messages": ({}, "messages"),
    "a wrong role": ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    "a picture that is no base64": (
        messages({"type": "image_url", "image_url": {"url": NOT_BASE64}}),
        "messages[0].content[0].image_url.url",
    ),
    "a message that is none": ({"messages": ["hello"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "a"}]}, "messages[0].role"),
    "an unknown part": (messages({"type": "smell"}), "'smell' in a message"),
    "a function without a name": (openai_tool(), "tools[0].function.name"),
    "a function whose schema is none": (openai_tool(name="f", parameters="none"), "tools[0].function.parameters"),
    "a choice that is none": ({"messages": [USER], "tool_choice": "PERHAPS"}, "tool_choice"),
    "a temperature that is none": ({"messages": [USER], "temperature": "warm"}, "temperature"),
}
OLLAMA: Mapping[str, tuple[dict[str, Any], str]] = {
    "no messages": ({}, "messages"),
    "a wrong role": ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    "a picture that is no base64": ({"messages": [{**USER, "images": ["AAAA", "@"]}]}, "messages[0].images[1]"),
    "a function without a name": (openai_tool(), "tools[0].function.name"),
    "a message that is none": ({"messages": ["hello"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "a"}]}, "messages[0].role"),
    "a text that is none": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "a function whose schema is none": (openai_tool(name="f", parameters="none"), "tools[0].function.parameters"),
    "a call without a name": (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}]},
        "messages[0].tool_calls[0].function.name",
    ),
    "options that are none": ({"messages": [USER], "options": {"top_k": "many"}}, "options.top_k"),
}

SURFACES: Mapping[str, tuple[str, Mapping[str, tuple[dict[str, Any], str]]]] = {
    "/v1/chat/completions": ("ANTHROPIC", OPENAI),
    "/v1/responses": ("ANTHROPIC", RESPONSES),
    "/v1/messages": ("OPENAI", ANTHROPIC),
    "/v1beta/models/m:generateContent": ("OPENAI", GEMINI),
    "/v2/chat": ("OPENAI", COHERE),
    "/api/chat": ("OPENAI", OLLAMA),
}
CASES = [
    pytest.param(path, schema, body, place, id=f"{path}-{name}")
    for path, (schema, cases) in SURFACES.items()
    for name, (body, place) in cases.items()
]


def text_and_place(path: str, answer: Any) -> tuple[str, str | None]:
    """The text of an error, and its place where the dialect has a field for that."""
    match path:
        case "/v2/chat":
            return answer["message"], None
        case "/api/chat":
            return answer["error"], None
        case "/v1/chat/completions" | "/v1/responses":
            assert answer["error"]["type"] == "invalid_request_error"
            return answer["error"]["message"], answer["error"]["param"]
        case "/v1/messages":
            assert (answer["type"], answer["error"]["type"]) == ("error", "invalid_request_error")
            return answer["error"]["message"], None
        case _:
            assert (answer["error"]["code"], answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
            return answer["error"]["message"], None


@pytest.mark.parametrize(("path", "schema", "body", "place"), CASES)
async def test_what_is_wrong_is_named_and_no_backend_is_asked(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    path: str,
    schema: str,
    body: dict[str, Any],
    place: str,
) -> None:
    await gateway.apply(
        {
            "upstreams": [{"name": "pool", "endpoints": [{"address": upstream.address}]}],
            "services": [{"name": "llm", **upstream_service(schema)}],
            "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
        }
    )
    asked = {"model": "m", **body}
    async with session.post(f"http://{gateway.addresses.http}{path}", data=json.dumps(asked)) as response:
        answer = await response.json()
    assert response.status == 400, answer
    text, param = text_and_place(path, answer)
    assert (param or place) == place
    assert param is not None or place in text
    assert upstream.requests == []


KINDS: Mapping[str, tuple[str, str]] = {
    "/v1/chat/completions": ("invalid_request_error", "invalid_request_error"),
    "/v1/responses": ("invalid_request_error", "invalid_request_error"),
    "/v1/messages": ("invalid_request_error", "request_too_large"),
    "/v1beta/models/m:generateContent": ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"),
}
"""The classes of a bad request and of one that is too large; Cohere and Ollama tell none."""


def told(path: str, answer: Any) -> tuple[str, str]:
    """The class and the text of an error in the dialect of the path, which has nothing else in it."""
    match path:
        case "/v2/chat":
            assert answer.keys() == {"message"}
            return "", answer["message"]
        case "/api/chat":
            assert answer.keys() == {"error"}
            return "", answer["error"]
        case "/v1beta/models/m:generateContent":
            assert answer["error"].keys() == {"code", "message", "status", "details"}
            return answer["error"]["status"], answer["error"]["message"]
        case "/v1/messages":
            assert (answer["type"], answer.keys()) == ("error", {"type", "error", "request_id"})
    return answer["error"]["type"], answer["error"]["message"]


PICTURE = b'{"model": "m", "picture": "' + b"A" * MAX_BODY_BYTES + b'"}'
NO_CONVERSATIONS: Mapping[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no JSON": (b'{"model": "m", ', 400),
    "no object": (b"[1]", 400),
    "no text": (b'{"model": "m\xff"}', 400),
    "nested": (b'{"model": "m", "messages": ' + b"[" * 100_000, 400),
    "a picture that is too large": (PICTURE, 413),
}


@pytest.mark.parametrize("path", SURFACES)
async def test_what_is_no_conversation_is_refused_in_the_dialect_of_the_client(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, path: str
) -> None:
    await gateway.apply(
        {
            "upstreams": [{"name": "pool", "endpoints": [{"address": upstream.address}]}],
            "services": [{"name": "llm", **upstream_service(SURFACES[path][0])}],
            "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
        }
    )
    for name, (body, status) in NO_CONVERSATIONS.items():
        async with session.post(f"http://{gateway.addresses.http}{path}", data=BytesIO(body)) as response:
            kind, text = told(path, await response.json())
        assert response.status == status, name
        assert kind == KINDS.get(path, ("", ""))[status == 413], name
        assert text, name
    assert upstream.requests == []
