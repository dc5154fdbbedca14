"""OpenAI's chat completions at both ends of a node: thoughts stand in `reasoning_details`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.dialect_backends import Seen, event, halves, parts_of, system_of, upstream_service
from tests.conformance.dialects import (
    MODEL,
    TOOL_PARAMETERS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Told,
    given,
    openai_function,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest


class OpenAIClient(HttpClient):
    """OpenAI's chat completions; thoughts in `reasoning_details`."""

    name = "openai"
    kinds = {  # noqa: RUF012  # never changed
        400: "invalid_request_error",
        404: "not_found_error",
        413: "invalid_request_error",
        429: "rate_limit_error",
        502: "server_error",
        503: "server_error",
        504: "server_error",
    }
    fields = frozenset({"seed", "user"})
    own_field = ("prediction", {"type": "content", "content": "hello"})

    def path(self, *, streamed: bool) -> str:
        return "/v1/chat/completions"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        image = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ask.image}"}}] if ask.image else []
        question: Any = [{"type": "text", "text": ask.text}, *image] if image else ask.text
        messages: list[Json] = [{"role": "system", "content": ask.system}] if ask.system else []
        messages.append({"role": "user", "content": question})
        if ask.before is not None:
            messages.append(self.turn(ask.before))
            messages += [{"role": "tool", "tool_call_id": call.id, "content": ask.result} for call in ask.before.calls]
            messages += [] if ask.before.calls else [{"role": "user", "content": "and now?"}]
        function = {"name": "weather", "parameters": TOOL_PARAMETERS}
        return given(
            model=MODEL,
            messages=messages,
            tools=[{"type": "function", "function": function}] if ask.has_tool else None,
            reasoning_effort="low" if ask.thinks else None,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": ask.schema}}
            if ask.schema
            else None,
            seed=ask.seed,
            user=ask.user,
            stream=streamed or None,
            stream_options={"include_usage": True} if streamed else None,
        )

    def turn(self, told: Told) -> Json:
        detail = given(type="reasoning.text", text=told.thinking, signature=told.signature or None)
        return given(
            role="assistant",
            content=told.text or None,
            reasoning_details=[detail] if told.thinking else None,
            tool_calls=[{"id": call.id, "type": "function", "function": openai_function(call)} for call in told.calls]
            or None,
        )

    def read_whole(self, body: Json) -> Reply:
        assert body["object"] == "chat.completion"
        return self._read([{**body, "choices": [{**choice, "delta": choice["message"]} for choice in body["choices"]]}])

    def read_stream(self, data: bytes) -> Reply:
        events = sse_events(data)
        chunks = [json.loads(text) for _, text in events if text != "[DONE]"]
        reply = self._read([chunk for chunk in chunks if "error" not in chunk])
        if errors := [chunk for chunk in chunks if "error" in chunk]:
            (chunk,) = errors
            failed = self.read_error(chunk)
            return replace(reply, error=failed.error, kind=failed.kind, is_ended=True)
        return replace(reply, is_ended=bool(events) and events[-1][1] == "[DONE]")

    def _read(self, chunks: Sequence[Json]) -> Reply:
        text = thinking = signature = finish = ""
        calls: dict[int, dict[str, str]] = {}
        usage = (0, 0, 0)
        for chunk in chunks:
            for choice in chunk["choices"]:
                delta = choice["delta"]
                text += delta.get("content") or ""
                details = delta.get("reasoning_details") or ()
                thinking += delta.get("reasoning_content") or "".join(detail.get("text", "") for detail in details)
                signature += "".join(detail.get("signature", "") for detail in details)
                for number, call in enumerate(delta.get("tool_calls") or ()):
                    merged = calls.setdefault(call.get("index", number), {"id": "", "name": "", "arguments": ""})
                    merged["id"] += call.get("id") or ""
                    merged["name"] += call["function"].get("name") or ""
                    merged["arguments"] += call["function"].get("arguments") or ""
                finish = choice.get("finish_reason") or finish
            if found := chunk.get("usage"):
                cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
                usage = (found["prompt_tokens"], cached, found["completion_tokens"])
        return Reply(
            models=frozenset(chunk["model"] for chunk in chunks),
            told=Told(
                thinking=thinking,
                signature=signature,
                text=text,
                calls=tuple(
                    Call(id=call["id"], name=call["name"], arguments=json.loads(call["arguments"] or "{}"))
                    for _, call in sorted(calls.items())
                ),
                finish=finish,
                usage=usage,
            ),
        )

    def read_error(self, body: Json) -> Reply:
        error = body["error"]
        assert error.keys() >= {"message", "type", "code"}  # Azure, whose errors are shown as they are, has no `param`
        return Reply(error=error["message"], kind=error["type"])


class OpenAIBackend:
    """A server of one's own that speaks OpenAI's chat completions."""

    name = "openai"
    credential = None
    keeps_signatures = True
    counts_cached = True
    lacks: frozenset[str] = frozenset()
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        return "/v1/chat/completions"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream"))

    def service(self, address: str) -> Mapping[str, Any]:
        return upstream_service("OPENAI")

    def whole(self, told: Told) -> Json:
        detail = given(type="reasoning.text", text=told.thinking, signature=told.signature or None)
        message = given(
            role="assistant",
            content=told.text,
            reasoning_details=[detail] if told.thinking else None,
            tool_calls=[{"id": call.id, "type": "function", "function": openai_function(call)} for call in told.calls]
            or None,
        )
        choice = {"index": 0, "message": message, "finish_reason": told.finish}
        return {**self._envelope("chat.completion"), "choices": [choice], "usage": self._usage(told)}

    def pieces(self, told: Told) -> list[bytes]:
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        if told.thinking:
            detail = {"type": "reasoning.text", "index": 0}
            deltas += (
                {"reasoning": text, "reasoning_details": [{**detail, "text": text}]} for text in halves(told.thinking)
            )
            deltas.append({"reasoning_details": [{**detail, "text": "", "signature": told.signature}]})
        deltas += ({"content": text} for text in halves(told.text))
        for number, call in enumerate(told.calls):
            function = openai_function(call)
            first = {"index": number, "id": call.id, "type": "function", "function": {**function, "arguments": ""}}
            deltas.append({"tool_calls": [first]})
            for text in halves(function["arguments"]):
                deltas.append({"tool_calls": [{"index": number, "function": {"arguments": text}}]})
        choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": told.finish})
        envelope = self._envelope("chat.completion.chunk")
        chunks = [{**envelope, "choices": [choice], "usage": None} for choice in choices]
        last = {**envelope, "choices": [], "usage": self._usage(told)}
        return [*map(event, (*chunks, last)), b"data: [DONE]\n\n"]

    def end_pieces(self) -> int:
        return 3

    def _envelope(self, kind: str) -> Json:
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": UPSTREAM_MODEL}

    def _usage(self, told: Told) -> Json:
        read, cached, written = told.usage
        details = {"prompt_tokens_details": {"cached_tokens": cached}}
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written, **details}

    def error_body(self, kind: str, message: str) -> Json:
        names = {"context": "context_length_exceeded", "overloaded": "overloaded_error"}
        return {"error": {"message": message, "type": "error", "param": None, "code": names.get(kind)}}

    def error_piece(self, message: str) -> bytes:
        return event(self.error_body("", message))

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        messages = body["messages"]
        parts = [part for each in messages if each["role"] == "user" for part in parts_of(each["content"])]
        said: Json = next((each for each in messages if each["role"] == "assistant"), {})
        details = said.get("reasoning_details") or ()
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=system_of(messages),
            texts=tuple(part["text"] for part in parts if part["type"] == "text"),
            images=tuple(
                part["image_url"]["url"].removeprefix("data:image/png;base64,")
                for part in parts
                if part["type"] == "image_url"
            ),
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())},
            schema=body["response_format"]["json_schema"]["schema"] if "response_format" in body else None,
            said=Told(
                thinking="".join(detail.get("text", "") for detail in details),
                signature="".join(detail.get("signature", "") for detail in details),
                text="".join(part["text"] for part in parts_of(said.get("content") or "")),
                calls=tuple(
                    Call(
                        id=call["id"],
                        name=call["function"]["name"],
                        arguments=json.loads(call["function"]["arguments"]),
                    )
                    for call in said.get("tool_calls") or ()
                ),
            ),
            results=tuple(
                (each["tool_call_id"], "".join(part["text"] for part in parts_of(each["content"])))
                for each in messages
                if each["role"] == "tool"
            ),
        )
