"""OpenAI's responses as a backend: that of providers which have no chat completions."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.dialect_backends import Seen, halves, provider_service
from tests.conformance.dialects import UPSTREAM_MODEL, Call, Json, Told
from tests.support.http_wire import ReceivedRequest


class ResponsesBackend:
    """A provider that has responses alone. It thinks in silence."""

    name = "openai_responses"
    credential = ("authorization", "Bearer sk-of-the-provider")
    keeps_signatures = False
    counts_cached = True
    lacks = frozenset({"seed"})
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        return "/v1/responses"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream"))

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("perplexity", address)

    def whole(self, told: Told) -> Json:
        items = [*self._message(told), *map(self._call, told.calls)]
        return {**self._response("completed"), "output": items, "usage": self._usage(told)}

    def pieces(self, told: Told) -> list[bytes]:
        return [_event(kind, value) for kind, value in self._events(told)]

    def _events(self, told: Told) -> Iterator[tuple[str, Json]]:
        yield "response.created", {"response": self._response("in_progress")}
        for item in self._message(told):
            place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
            part = item["content"][0]
            yield "response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}
            yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
            for text in halves(told.text):
                yield "response.output_text.delta", {**place, "delta": text}
            yield "response.output_text.done", {**place, "text": told.text}
            yield "response.content_part.done", {**place, "part": part}
            yield "response.output_item.done", {"output_index": 0, "item": item}
        for index, call in enumerate(told.calls, start=bool(told.text)):
            item = self._call(call)
            place = {"item_id": item["id"], "output_index": index}
            yield "response.output_item.added", {"output_index": index, "item": {**item, "arguments": ""}}
            for text in halves(item["arguments"]):
                yield "response.function_call_arguments.delta", {**place, "delta": text}
            yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}
            yield "response.output_item.done", {"output_index": index, "item": item}
        yield "response.completed", {"response": self.whole(told)}

    def end_pieces(self) -> int:
        return 4

    def _message(self, told: Told) -> list[Json]:
        part = {"type": "output_text", "text": told.text, "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        return [item] if told.text else []

    def _call(self, call: Call) -> Json:
        return {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": call.id,
            "name": call.name,
            "arguments": json.dumps(call.arguments),
        }

    def _response(self, status: str) -> Json:
        return {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": UPSTREAM_MODEL}

    def _usage(self, told: Told) -> Json:
        read, cached, written = told.usage
        details = {"input_tokens_details": {"cached_tokens": cached}}
        return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written, **details}

    def error_body(self, kind: str, message: str) -> Json:
        return {"error": {"message": message, "type": "error", "param": None, "code": kind or None}}

    def error_piece(self, message: str) -> bytes:
        return _event("error", {"code": None, "message": message, "param": None})

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        return Seen(model=body["model"], is_streaming=self.is_streaming(request))


def _event(kind: str, value: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **value})}\n\n".encode()
