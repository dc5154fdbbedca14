"""Cohere's chat at both ends of a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tests.conformance.dialect_backends import (
    SECRET,
    Seen,
    event,
    halves,
    parts_of,
    pictures_of,
    provider_service,
    system_of,
)
from tests.conformance.dialects import (
    TEXT_NAME,
    TOOL_PARAMETERS,
    TOOLS,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Token,
    Told,
    base64_of,
    data_url,
    given,
    openai_function,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "seed": "seed",
    "presence penalty": "presence_penalty",
    "frequency penalty": "frequency_penalty",
    "stop sequences": "stop_sequences",
    "limit of tokens": "max_tokens",
}
HAS = (
    TOOLS
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "image by address",
        "document of text",
        "name of a document",
        "failure of a tool",
        "JSON schema",
        "JSON without a schema",
        "tool choice: required",
        "tool choice: none",
        "thinking",
        "cached tokens",
        "logprobs",
        "sources",
        "stop by a filter",
    }
)
_FINISHES = {"COMPLETE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls", "ERROR_TOXIC": "content_filter"}
_REASONS = {finish: reason for reason, finish in _FINISHES.items()}
_FINISHES["STOP_SEQUENCE"] = "stop"


class CohereClient(HttpClient):
    """Cohere's chat. Its errors have no names, and its answers name no model."""

    name = "cohere"
    kinds = dict.fromkeys((400, 404, 413, 429, 502, 503, 504), "")
    names_model = False
    has = HAS | {"thinking replayed"}  # in fields of Janua's own
    settings = SETTINGS
    own_field = ("safety_mode", "STRICT")

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v2/chat"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        messages: list[Json] = [{"role": "system", "content": ask.system}] if ask.system else []
        pictures = [ask.image_url, data_url("image/png", ask.image) if ask.image else ""]
        image: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures if url]
        content: list[Json] = [{"type": "text", "text": ask.text}, *image]
        messages.append({"role": "user", "content": content if image else ask.text})
        if ask.before is not None:
            messages.append(self.turn(ask.before))
            failure = [{"type": "document", "document": {"data": {"error": ask.result}}}]
            result = failure if ask.failed else ask.result
            messages += [{"role": "tool", "tool_call_id": call.id, "content": result} for call in ask.before.calls] or [
                {"role": "user", "content": "and now?"}
            ]
        functions = [{"name": name, "parameters": TOOL_PARAMETERS} for name in ask.tools]
        return given(
            model=ask.model,
            messages=messages,
            documents=[{"id": TEXT_NAME, "data": {"text": ask.document}}] if ask.document else None,
            tools=[{"type": "function", "function": function} for function in functions] or None,
            tool_choice=ask.choice.upper() or None,
            thinking={"type": "enabled", "token_budget": 1024} if ask.thinks else None,
            response_format=given(type="json_object", json_schema=ask.schema) if ask.schema or ask.is_json else None,
            logprobs=True if ask.logprobs is not None else None,
            stream=streamed,
        )

    def turn(self, told: Told) -> Json:
        """A turn of the model."""
        content: list[Json] = []
        if told.thinking:
            content.append(given(type="thinking", thinking=told.thinking, signature=told.signature or None))
        if told.text:
            content.append({"type": "text", "text": told.text})
        calls = [{"id": call.id, "type": "function", "function": openai_function(call)} for call in told.calls]
        return given(role="assistant", content=content or None, tool_calls=calls or None)

    def read_whole(self, body: Json) -> Reply:
        told = self._told(body["message"], body["finish_reason"], body["usage"])
        return Reply(told=replace(told, tokens=tuple(map(_token, body.get("logprobs", ())))))

    def _told(self, message: Json, finish_reason: str, usage: Json) -> Told:
        content = message.get("content") or ()
        thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
        tokens = usage.get("tokens", {"input_tokens": 0, "output_tokens": 0})
        return Told(
            thinking="".join([*thoughts, message.get("tool_plan", "")]),  # a plan is a thought about calls
            signature="".join(block.get("signature", "") for block in content),
            text="".join(block["text"] for block in content if block["type"] == "text"),
            calls=tuple(
                Call(
                    id=call["id"],
                    name=call["function"]["name"],
                    arguments=json.loads(call["function"]["arguments"] or "{}"),
                )
                for call in message.get("tool_calls") or ()
            ),
            sources=tuple(
                (source["document"]["url"], source["document"]["title"])
                for citation in message.get("citations") or ()
                for source in citation["sources"]
                if "url" in source.get("document", {})
            ),
            finish=_FINISHES.get(finish_reason, ""),
            usage=(tokens["input_tokens"], usage.get("cached_tokens", 0), tokens["output_tokens"]),
        )

    def read_stream(self, data: bytes) -> Reply:
        content: list[Json] = []
        calls: list[Json] = []
        citations: list[Json] = []
        tokens: list[Token] = []
        ended: list[Json] = []
        kinds: list[str] = []
        for name, text in sse_events(data):
            if text == "[DONE]":
                kinds.append(text)
                continue
            event = json.loads(text)
            assert event["type"] == name
            kinds.append(name)
            if "logprobs" in event:
                tokens.append(_token(event["logprobs"]))
            message = event.get("delta", {}).get("message", {})
            match name:
                case "content-start":
                    assert event["index"] == len(content)
                    content.append({"text": "", "thinking": "", **message["content"]})
                case "content-delta":
                    self._extend(content[event["index"]], message["content"])
                case "tool-call-start":
                    assert event["index"] == len(calls)
                    calls.append(message["tool_calls"])
                case "tool-call-delta":
                    calls[event["index"]]["function"]["arguments"] += message["tool_calls"]["function"]["arguments"]
                case "citation-start":
                    citations.append(message["citations"])
                case "message-end":
                    ended.append(event["delta"])
        end = ended[-1] if ended else {}
        said = {"content": content, "tool_calls": calls, "citations": citations}
        told = replace(self._told(said, end.get("finish_reason", ""), end.get("usage", {})), tokens=tuple(tokens))
        if "error" in end:
            assert len(ended) == 1
            return Reply(told=told, error=end["error"])
        is_ended = kinds[0] == "message-start" and kinds[-2:] == ["message-end", "[DONE]"] and len(ended) == 1
        return Reply(told=told, is_ended=is_ended)

    def _extend(self, block: Json, delta: Json) -> None:
        for name in ("text", "thinking"):
            block[name] += delta.get(name, "")
        block |= given(signature=delta.get("signature"))

    def read_error(self, body: Json) -> Reply:
        assert body.keys() <= {"message", "id"}
        return Reply(error=body["message"])


def _token(logprobs: Json) -> Token:
    (logprob,) = logprobs["logprobs"]
    return Token(logprobs["text"], logprob)


class CohereBackend:
    """Cohere as a provider."""

    name = "cohere"
    credential = ("authorization", f"Bearer {SECRET}")
    has = HAS | {"tool choice: one function"}  # by naming no other
    own: frozenset[str] = frozenset()
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        return "/v2/chat"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream"))

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("cohere", address)

    def whole(self, told: Told) -> Json:
        content: list[Json] = [{"type": "thinking", "thinking": told.thinking}] if told.thinking else []
        content += [{"type": "text", "text": told.text}] if told.text else []
        calls = [self._call(call) for call in told.calls]
        citations = [self._citation(told)] if told.sources else None
        message = given(role="assistant", content=content or None, tool_calls=calls or None, citations=citations)
        return {"id": "c1", "message": message, **self._end(told), **self._logprobs(told.tokens)}

    def _citation(self, told: Told) -> Json:
        sources = [
            {"type": "document", "id": url, "document": {"id": url, "url": url, "title": title, "snippet": "words"}}
            for url, title in told.sources
        ]
        return {"start": 0, "end": len(told.text), "text": told.text, "sources": sources, "type": "TEXT_CONTENT"}

    def _logprobs(self, tokens: Sequence[Token]) -> Json:
        written = [{"text": token.text, "token_ids": [1], "logprobs": [token.logprob]} for token in tokens]
        return {"logprobs": written} if written else {}

    def _call(self, call: Call) -> Json:
        return {"id": call.id, "type": "function", "function": openai_function(call)}

    def _end(self, told: Told) -> Json:
        read, cached, written = told.usage
        usage = given(
            billed_units={"input_tokens": read - 1, "output_tokens": written},
            tokens={"input_tokens": read, "output_tokens": written},
            cached_tokens=cached or None,
        )
        return {"finish_reason": _REASONS[told.finish], "usage": usage}

    def pieces(self, told: Told) -> list[bytes]:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        pieces = [_named("message-start", id="c1", delta={"message": message})]
        blocks = [(kind, text) for kind, text in (("thinking", told.thinking), ("text", told.text)) if text]
        for number, (kind, text) in enumerate(blocks):
            begun: Json = {"type": kind, kind: ""}
            pieces.append(_named("content-start", index=number, delta={"message": {"content": begun}}))
            for half, token in zip_longest(halves(text), told.tokens if kind == "text" else ()):
                more = {"logprobs": self._logprobs([token])["logprobs"][0]} if token else {}
                delta = {"message": {"content": {kind: half}}}
                pieces.append(_named("content-delta", index=number, delta=delta, **more))
            pieces.append(_named("content-end", index=number))
        if told.sources:
            delta = {"message": {"citations": self._citation(told)}}
            pieces += (_named("citation-start", index=0, delta=delta), _named("citation-end", index=0))
        for number, call in enumerate(told.calls):
            whole = self._call(call)
            begun = {**whole, "function": {**whole["function"], "arguments": ""}}
            pieces.append(_named("tool-call-start", index=number, delta={"message": {"tool_calls": begun}}))
            for half in halves(whole["function"]["arguments"]):
                more = {"function": {"arguments": half}}
                pieces.append(_named("tool-call-delta", index=number, delta={"message": {"tool_calls": more}}))
            pieces.append(_named("tool-call-end", index=number))
        return [*pieces, _named("message-end", id="c1", delta=self._end(told)), b"data: [DONE]\n\n"]

    def end_pieces(self) -> int:
        return 2

    def error_body(self, kind: str, message: str) -> Json:
        return {"id": "c1", "message": message}

    def error_piece(self, message: str) -> bytes:
        return _named("message-end", id="c1", delta={"finish_reason": "ERROR", "error": message})

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        messages = body["messages"]
        asked = [part for each in messages if each["role"] == "user" for part in parts_of(each["content"])]
        said: Json = next((each for each in messages if each["role"] == "assistant"), {})
        wanted: Json = body.get("response_format", {})
        tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())}
        client = CohereClient()
        told = client.read_whole({"message": _whole_content(said), "finish_reason": "COMPLETE", "usage": {}}).told
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=system_of(messages),
            texts=tuple(part["text"] for part in asked if part["type"] == "text"),
            images=pictures_of(part["image_url"]["url"] for part in asked if part["type"] == "image_url"),
            files=tuple(
                (each["id"], "text/plain", base64_of(each["data"]["text"])) for each in body.get("documents", ())
            ),
            choice=next(iter(tools))
            if len(tools) == 1 and "tool_choice" in body
            else body.get("tool_choice", "").lower(),
            thinks="thinking" in body,
            tools=tools,
            schema=wanted.get("json_schema"),
            is_json=wanted.get("type") == "json_object" and "json_schema" not in wanted,
            logprobs=0 if body.get("logprobs") else None,
            settings=settings_in(body, SETTINGS),
            failed=any(each["role"] == "tool" and not isinstance(each["content"], str) for each in messages),
            said=replace(told, usage=(0, 0, 0)),
            results=tuple(
                (each["tool_call_id"], _result_text(each["content"])) for each in messages if each["role"] == "tool"
            ),
        )


def _whole_content(message: Json) -> Json:
    return {**message, "content": parts_of(message.get("content") or [])}


def _result_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else part["document"]["data"]["error"] for part in content)


def _named(kind: str, **fields: Any) -> bytes:
    """One of Cohere's events."""
    return f"event: {kind}\n".encode() + event({"type": kind, **fields})
