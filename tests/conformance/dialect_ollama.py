"""Ollama's chat at both ends of a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tests.conformance.dialect_backends import Seen, halves, system_of, upstream_service
from tests.conformance.dialect_openai import read_token, token_fields
from tests.conformance.dialects import (
    TOOL_PARAMETERS,
    TOOLS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Token,
    Told,
    given,
    settings_in,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "options.temperature",
    "top_p": "options.top_p",
    "top_k": "options.top_k",
    "seed": "options.seed",
    "presence penalty": "options.presence_penalty",
    "frequency penalty": "options.frequency_penalty",
    "stop sequences": "options.stop",
    "limit of tokens": "options.num_predict",
}
HAS = (
    TOOLS
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "JSON schema",
        "JSON without a schema",
        "thinking",
        "logprobs",
        "logprobs of other tokens",
    }
)


class OllamaClient(HttpClient):
    """Ollama's chat. Its errors have no names, and its thoughts no signatures."""

    name = "ollama"
    kinds = dict.fromkeys((400, 404, 413, 429, 502, 503, 504), "")
    has = HAS
    settings = SETTINGS
    own_field = ("keep_alive", "5m")
    stream_type = "application/x-ndjson"

    def path(self, model: str, *, streamed: bool) -> str:
        return "/api/chat"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        messages: list[Json] = [{"role": "system", "content": ask.system}] if ask.system else []
        messages.append(given(role="user", content=ask.text, images=[ask.image] if ask.image else None))
        if ask.before is not None:
            messages.append(self.turn(ask.before))
            messages += [{"role": "tool", "tool_name": call.name, "content": ask.result} for call in ask.before.calls]
            messages += [] if ask.before.calls else [{"role": "user", "content": "and now?"}]
        functions = [{"name": name, "parameters": TOOL_PARAMETERS} for name in ask.tools]
        return given(
            model=ask.model,
            messages=messages,
            tools=[{"type": "function", "function": function} for function in functions] or None,
            think=ask.thinks or None,
            format="json" if ask.is_json else ask.schema,
            logprobs=True if ask.logprobs is not None else None,
            top_logprobs=ask.logprobs or None,
            stream=None if streamed else False,  # streams are what is asked for with nothing said
        )

    def turn(self, told: Told) -> Json:
        calls = [{"function": {"name": call.name, "arguments": dict(call.arguments)}} for call in told.calls]
        return given(role="assistant", content=told.text, thinking=told.thinking or None, tool_calls=calls or None)

    def read_whole(self, body: Json) -> Reply:
        return self._read([body])

    def read_stream(self, data: bytes) -> Reply:
        lines = [json.loads(line) for line in data.splitlines()]
        reply = self._read([line for line in lines if "error" not in line])
        if errors := [line for line in lines if "error" in line]:
            assert not any(line.get("done") for line in lines)
            (line,) = errors
            return replace(reply, error=self.read_error(line).error)
        return replace(reply, is_ended=bool(lines) and lines[-1]["done"] is True)

    def _read(self, lines: Sequence[Json]) -> Reply:
        messages = [line["message"] for line in lines]
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        last = lines[-1] if lines else {}
        finish = last.get("done_reason") or ""
        return Reply(
            models=frozenset(line["model"] for line in lines),
            told=Told(
                thinking="".join(message.get("thinking") or "" for message in messages),
                text="".join(message.get("content") or "" for message in messages),
                calls=tuple(
                    Call(
                        id=call.get("id", ""),
                        name=call["function"]["name"],
                        arguments=call["function"]["arguments"],
                    )
                    for call in calls
                ),
                tokens=tuple(read_token(token) for line in lines for token in line.get("logprobs") or ()),
                finish="tool_calls" if calls and finish == "stop" else finish,
                usage=(last.get("prompt_eval_count", 0), 0, last.get("eval_count", 0)),
            ),
        )

    def read_error(self, body: Json) -> Reply:
        assert body.keys() == {"error"}
        return Reply(error=body["error"])


class OllamaBackend:
    """An Ollama of one's own."""

    name = "ollama"
    credential = None
    has = HAS | {"tool choice: none"}  # by naming no tools
    own: frozenset[str] = frozenset()
    stream_type = "application/x-ndjson"

    def path(self, *, streamed: bool) -> str:
        return "/api/chat"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream", True))

    def service(self, address: str) -> Mapping[str, Any]:
        return upstream_service("OLLAMA")

    def whole(self, told: Told) -> Json:
        read, _, written = told.usage
        return {
            **self._line(
                told.tokens,
                content=told.text,
                thinking=told.thinking or None,
                tool_calls=[self._call(call) for call in told.calls] or None,
            ),
            "done": True,
            "done_reason": "length" if told.finish == "length" else "stop",
            "prompt_eval_count": read,
            "eval_count": written,
        }

    def pieces(self, told: Told) -> list[bytes]:
        lines = [self._line(content="", thinking=text) for text in halves(told.thinking)]
        for text, token in zip_longest(halves(told.text), told.tokens):
            lines.append(self._line([token] if token else (), content=text))
        lines += (self._line(content="", tool_calls=[self._call(call)]) for call in told.calls)
        last = {**self.whole(replace(told, tokens=())), "message": {"role": "assistant", "content": ""}}
        return [json.dumps(line).encode() + b"\n" for line in (*lines, last)]

    def end_pieces(self) -> int:
        return 1

    def _line(self, tokens: Sequence[Token] = (), **message: Any) -> Json:
        return given(
            model=UPSTREAM_MODEL,
            created_at="2026-01-01T00:00:00Z",
            message=given(role="assistant", **message),
            logprobs=[token_fields(token) for token in tokens] or None,
            done=False,
        )

    def _call(self, call: Call) -> Json:
        return {"function": {"name": call.name, "arguments": dict(call.arguments)}}

    def error_body(self, kind: str, message: str) -> Json:
        return {"error": message}

    def error_piece(self, message: str) -> bytes:
        return json.dumps({"error": message}).encode() + b"\n"

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        messages = body["messages"]
        asked = [each for each in messages if each["role"] == "user"]
        said: Json = next((each for each in messages if each["role"] == "assistant"), {})
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=system_of(messages),
            texts=tuple(each["content"] for each in asked),
            images=tuple(image for each in asked for image in each.get("images") or ()),
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())},
            thinks=body.get("think") is True,
            schema=body.get("format") if body.get("format") != "json" else None,
            is_json=body.get("format") == "json",
            logprobs=body.get("top_logprobs", 0) if body.get("logprobs") else None,
            settings=settings_in(body, SETTINGS),
            said=Told(
                thinking=said.get("thinking", ""),
                text=said.get("content", ""),
                calls=tuple(
                    Call(id=call.get("id", ""), name=call["function"]["name"], arguments=call["function"]["arguments"])
                    for call in said.get("tool_calls") or ()
                ),
            ),
            results=tuple((each["tool_name"], each["content"]) for each in messages if each["role"] == "tool"),
        )
