"""Gemini's `generateContent` at both ends of a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.dialect_backends import SECRET, Seen, event, halves, provider_service
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
    sse_events,
)
from tests.support.http_wire import ReceivedRequest


class GeminiClient(HttpClient):
    """Gemini's `generateContent`."""

    name = "gemini"
    kinds = {  # noqa: RUF012
        400: "INVALID_ARGUMENT",
        404: "NOT_FOUND",
        413: "RESOURCE_EXHAUSTED",
        429: "RESOURCE_EXHAUSTED",
        502: "UNAVAILABLE",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    fields = frozenset({"seed"})
    own_field = ("cachedContent", "cachedContents/1")

    def path(self, *, streamed: bool) -> str:
        return f"/v1beta/models/{MODEL}:{'streamGenerateContent?alt=sse' if streamed else 'generateContent'}"

    def key(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        image = [{"inlineData": {"mimeType": "image/png", "data": ask.image}}] if ask.image else []
        contents: list[Json] = [{"role": "user", "parts": [{"text": ask.text}, *image]}]
        if ask.before is not None:
            results = [
                {"functionResponse": {"id": call.id, "name": call.name, "response": {"output": ask.result}}}
                for call in ask.before.calls
            ]
            contents.append({"role": "model", "parts": self.parts(ask.before)})
            contents.append({"role": "user", "parts": results or [{"text": "and now?"}]})
        declaration = {"name": "weather", "parametersJsonSchema": TOOL_PARAMETERS}
        config = given(
            seed=ask.seed,
            thinkingConfig={"thinkingBudget": 1024} if ask.thinks else None,
            responseMimeType="application/json" if ask.schema else None,
            responseJsonSchema=ask.schema,
        )
        return given(
            contents=contents,
            systemInstruction={"parts": [{"text": ask.system}]} if ask.system else None,
            tools=[{"functionDeclarations": [declaration]}] if ask.has_tool else None,
            generationConfig=config or None,
        )

    def parts(self, told: Told) -> list[Json]:
        """A turn of the model."""
        parts: list[Json] = []
        if told.thinking:
            parts.append(given(text=told.thinking, thought=True, thoughtSignature=told.signature or None))
        if told.text:
            parts.append({"text": told.text})
        parts += (
            {"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}} for call in told.calls
        )
        return parts

    def read_whole(self, body: Json) -> Reply:
        return self._read([body])

    def read_stream(self, data: bytes) -> Reply:
        pieces = [json.loads(text) for _, text in sse_events(data)]
        reply = self._read([piece for piece in pieces if "error" not in piece])
        if errors := [piece for piece in pieces if "error" in piece]:
            (piece,) = errors
            failed = self.read_error(piece)
            assert reply.told.finish == ""
            return replace(reply, error=failed.error, kind=failed.kind)
        return replace(reply, is_ended=reply.told.finish != "")

    def _read(self, pieces: Sequence[Json]) -> Reply:
        candidates = [candidate for piece in pieces for candidate in piece.get("candidates", ())]
        parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", ())]
        reason = "".join(candidate.get("finishReason", "") for candidate in candidates)
        called = [part["functionCall"] for part in parts if "functionCall" in part]
        finishes = {"STOP": "tool_calls" if called else "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
        finish = finishes.get(reason, "")
        usage: Json = next((piece["usageMetadata"] for piece in reversed(pieces) if "usageMetadata" in piece), {})
        return Reply(
            models=frozenset(piece["modelVersion"] for piece in pieces),
            told=Told(
                thinking="".join(part["text"] for part in parts if part.get("thought")),
                signature="".join(part["thoughtSignature"] for part in parts if "thoughtSignature" in part),
                text="".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
                calls=tuple(Call(id=call.get("id", ""), name=call["name"], arguments=call["args"]) for call in called),
                finish=finish,
                usage=(
                    usage.get("promptTokenCount", 0),
                    usage.get("cachedContentTokenCount", 0),
                    usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
                ),
            ),
        )

    def read_error(self, body: Json) -> Reply:
        error = body["error"]
        assert error["code"] in (400, 401, 404, 413, 429, 500, 502, 503, 504)
        return Reply(error=error["message"], kind=error["status"])


class GeminiBackend:
    """Gemini as a provider."""

    name = "gemini"
    credential = ("x-goog-api-key", SECRET)
    keeps_signatures = True
    counts_cached = True
    lacks = frozenset({"user"})
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"/v1beta/models/{UPSTREAM_MODEL}:{method}"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return ":streamGenerateContent" in request.target

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("gemini", address)

    def whole(self, told: Told) -> Json:
        return self._piece(self._parts(told), told, is_last=True)

    def pieces(self, told: Told) -> list[bytes]:
        first = [event(self._piece([part], told, is_last=False)) for part in self._parts(told)]
        return [*first, event(self._piece([{"text": ""}], told, is_last=True))]

    def end_pieces(self) -> int:
        return 1

    def _parts(self, told: Told) -> list[Json]:
        parts: list[Json] = []
        if told.thinking:
            parts.append(given(text=told.thinking, thought=True, thoughtSignature=told.signature or None))
        parts += ({"text": text} for text in halves(told.text))
        for call in told.calls:
            parts.append({"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}})
        return parts

    def _piece(self, parts: list[Json], told: Told, *, is_last: bool) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        read, cached, written = told.usage
        usage = given(
            promptTokenCount=read,
            cachedContentTokenCount=cached or None,
            candidatesTokenCount=written,
            totalTokenCount=read + written,
        )
        if is_last:
            candidate["finishReason"] = "MAX_TOKENS" if told.finish == "length" else "STOP"
        piece = {"candidates": [candidate], "modelVersion": UPSTREAM_MODEL, "responseId": "r1"}
        return {**piece, "usageMetadata": usage} if is_last else piece

    def error_body(self, kind: str, message: str) -> Json:
        status = {"overloaded": "UNAVAILABLE"}.get(kind, "UNKNOWN")
        return {"error": {"code": 500, "message": message, "status": status}}

    def error_piece(self, message: str) -> bytes:
        return event(self.error_body("", message))

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        parts = [(each["role"], part) for each in body["contents"] for part in each["parts"]]
        own = [part for role, part in parts if role == "model"]
        asked = [part for role, part in parts if role == "user"]
        called = [part["functionCall"] for part in own if "functionCall" in part]
        functions = [function for tool in body.get("tools", ()) for function in tool["functionDeclarations"]]
        results = [part["functionResponse"] for part in asked if "functionResponse" in part]
        return Seen(
            model=request.target.removeprefix("/v1beta/models/").partition(":")[0],
            is_streaming=self.is_streaming(request),
            system="".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ())),
            texts=tuple(part["text"] for part in asked if "text" in part),
            images=tuple(part["inlineData"]["data"] for part in asked if "inlineData" in part),
            tools={
                function["name"]: function.get("parametersJsonSchema", function.get("parameters"))
                for function in functions
            },
            schema=body.get("generationConfig", {}).get("responseJsonSchema"),
            said=Told(
                thinking="".join(part["text"] for part in own if part.get("thought")),
                signature="".join(part["thoughtSignature"] for part in own if "thoughtSignature" in part),
                text="".join(part["text"] for part in own if "text" in part and not part.get("thought")),
                calls=tuple(Call(id=call.get("id", ""), name=call["name"], arguments=call["args"]) for call in called),
            ),
            results=tuple((each["name"], _result_text(each["response"])) for each in results),
        )


def _result_text(response: Json) -> str:
    (text,) = response.values()
    return str(text)
