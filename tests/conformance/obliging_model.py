"""A model that does what the request lets it do: calls the tool it is offered, fills in the form it is given, and else
says hello. It speaks OpenAI's API."""

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tests.support.http_wire import chunked_response, json_response, sse
from tests.support.scripts import Exchange

WEATHER = {"city": "Oslo"}
REPORT = {"city": "Oslo", "degrees": 12}


class Report(BaseModel):
    """The same form, for clients that read it."""

    city: str
    degrees: int


FILLED_IN = Report.model_validate(REPORT)
VECTOR = (0.5, -1.0)
TOKENS = (11, 7)
"""Read and written."""

_USAGE = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}


async def oblige(exchange: Exchange) -> None:
    """A script for a scripted upstream."""
    asked = exchange.request.json()
    if exchange.request.target == "/v1/embeddings":
        await exchange.send(json_response(200, _embeddings(asked)))
    elif asked.get("stream"):
        await exchange.send(chunked_response(sse(*_events(asked))))
    else:
        await exchange.send(json_response(200, _completion(asked)))


def _embeddings(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    vector: Any = VECTOR
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
    usage = {"prompt_tokens": TOKENS[0], "total_tokens": TOKENS[0]}
    return {"object": "list", "model": asked["model"], "data": data, "usage": usage}


def _completion(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    call = _wanted_call(asked)
    message: dict[str, Any] = {"role": "assistant", "content": None if call else _text(asked)}
    if call:
        message["tool_calls"] = [{"id": "call-1", "type": "function", "function": call}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
    return {**_envelope(asked, "chat.completion"), "choices": [choice], "usage": _USAGE}


def _events(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    def event(delta: Mapping[str, Any], finish: str | None = None) -> Mapping[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**_envelope(asked, "chat.completion.chunk"), "choices": [choice]}

    yield event({"role": "assistant", "content": ""})
    call = _wanted_call(asked)
    if call is None:
        for piece in _halves(_text(asked)):
            yield event({"content": piece})
    else:
        name = {"name": call["name"], "arguments": ""}
        yield event({"tool_calls": [{"index": 0, "id": "call-1", "type": "function", "function": name}]})
        for piece in _halves(call["arguments"]):
            yield event({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield event({}, "tool_calls" if call else "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**_envelope(asked, "chat.completion.chunk"), "choices": [], "usage": _USAGE}


def _wanted_call(asked: Mapping[str, Any]) -> dict[str, str] | None:
    """The call of the first tool, unless its result is there already."""
    tools: Sequence[Mapping[str, Any]] = asked.get("tools") or ()
    if not tools or any(message["role"] == "tool" for message in asked["messages"]):
        return None
    name = tools[0]["function"]["name"]
    return {"name": name, "arguments": json.dumps(WEATHER if name == "weather" else REPORT)}


def _text(asked: Mapping[str, Any]) -> str:
    is_form = (asked.get("response_format") or {}).get("type") == "json_schema"
    return json.dumps(REPORT) if is_form else "hello there"


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _envelope(asked: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": asked["model"]}
