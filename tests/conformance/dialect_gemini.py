"""Gemini's `generateContent` at both ends of a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tests.conformance.dialect_backends import SECRET, Seen, event, halves, provider_service
from tests.conformance.dialects import (
    CHOICES,
    PDF_NAME,
    TEXT_NAME,
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
    base64_of,
    given,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "seed": "generationConfig.seed",
    "presence penalty": "generationConfig.presencePenalty",
    "frequency penalty": "generationConfig.frequencyPenalty",
    "stop sequences": "generationConfig.stopSequences",
    "limit of tokens": "generationConfig.maxOutputTokens",
    "several choices": "generationConfig.candidateCount",
}
HAS = (
    TOOLS
    | CHOICES
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "image by address",
        "audio",
        "PDF",
        "PDF by address",
        "document of text",
        "failure of a tool",
        "JSON schema",
        "JSON without a schema",
        "thinking",
        "thinking replayed",
        "cached tokens",
        "thinking tokens",
        "logprobs",
        "logprobs of other tokens",
        "sources",
        "stop by a filter",
    }
)
_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_MODES = {"required": "ANY", "none": "NONE"}


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
    has = HAS | {"name of a document"}
    settings = SETTINGS
    own_field = ("cachedContent", "cachedContents/1")

    def path(self, model: str, *, streamed: bool) -> str:
        return f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if streamed else 'generateContent'}"

    def key(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        contents: list[Json] = [{"role": "user", "parts": [{"text": ask.text}, *self.media(ask)]}]
        outcome = "error" if ask.failed else "output"
        if ask.before is not None:
            results = [
                {"functionResponse": {"id": call.id, "name": call.name, "response": {outcome: ask.result}}}
                for call in ask.before.calls
            ]
            contents.append({"role": "model", "parts": self.parts(ask.before)})
            contents.append({"role": "user", "parts": results or [{"text": "and now?"}]})
        functions = [{"name": name, "parametersJsonSchema": TOOL_PARAMETERS} for name in ask.tools]
        named = {"mode": "ANY", "allowedFunctionNames": [ask.choice]}
        calling = named if ask.choice in ask.tools else {"mode": _MODES.get(ask.choice)}
        config = given(
            thinkingConfig={"thinkingBudget": 1024, "includeThoughts": True} if ask.thinks else None,
            responseMimeType="application/json" if ask.schema or ask.is_json else None,
            responseJsonSchema=ask.schema,
            responseLogprobs=True if ask.logprobs is not None else None,
            logprobs=ask.logprobs or None,
        )
        return given(
            contents=contents,
            systemInstruction={"parts": [{"text": ask.system}]} if ask.system else None,
            tools=[{"functionDeclarations": functions}] if functions else None,
            toolConfig={"functionCallingConfig": calling} if ask.choice else None,
            generationConfig=config or None,
        )

    def media(self, ask: Ask) -> list[Json]:
        """What a question brings along."""
        blobs = [
            {"mimeType": "image/png", "data": ask.image},
            {"mimeType": "audio/wav", "data": ask.audio},
            {"mimeType": "application/pdf", "data": ask.pdf, "displayName": PDF_NAME},
            {"mimeType": "text/plain", "data": base64_of(ask.document), "displayName": TEXT_NAME},
        ]
        links = [
            {"mimeType": "image/png", "fileUri": ask.image_url},
            {"mimeType": "application/pdf", "fileUri": ask.pdf_url},
        ]
        linked = [{"fileData": link} for link in links if link["fileUri"]]
        return [*linked, *({"inlineData": blob} for blob in blobs if blob["data"])]

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
        all_candidates = [candidate for piece in pieces for candidate in piece.get("candidates", ())]
        candidates = [candidate for candidate in all_candidates if not candidate.get("index")]
        parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", ())]
        called = [part["functionCall"] for part in parts if "functionCall" in part]
        finishes = {"STOP": "tool_calls" if called else "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter"}
        reason = "".join(candidate.get("finishReason", "") for candidate in candidates)
        others: dict[int, str] = {}
        for candidate in all_candidates:
            if index := candidate.get("index", 0):
                text = "".join(part["text"] for part in candidate["content"]["parts"])
                others[index] = others.get(index, "") + text
        usage: Json = next((piece["usageMetadata"] for piece in reversed(pieces) if "usageMetadata" in piece), {})
        thoughts = usage.get("thoughtsTokenCount", 0)
        return Reply(
            models=frozenset(piece["modelVersion"] for piece in pieces),
            told=Told(
                thinking="".join(part["text"] for part in parts if part.get("thought")),
                signature="".join(part["thoughtSignature"] for part in parts if "thoughtSignature" in part),
                text="".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
                calls=tuple(Call(id=call.get("id", ""), name=call["name"], arguments=call["args"]) for call in called),
                sources=tuple(
                    (source["uri"], source.get("title", ""))
                    for candidate in candidates
                    for source in candidate.get("citationMetadata", {}).get("citations", ())
                    if "uri" in source
                ),
                tokens=tuple(
                    token
                    for candidate in candidates
                    if "logprobsResult" in candidate
                    for token in _tokens(candidate["logprobsResult"])
                ),
                others=tuple(text for _, text in sorted(others.items())),
                finish=finishes.get(reason, ""),
                usage=(
                    usage.get("promptTokenCount", 0),
                    usage.get("cachedContentTokenCount", 0),
                    usage.get("candidatesTokenCount", 0) + thoughts,
                ),
                thought_tokens=thoughts,
            ),
        )

    def read_error(self, body: Json) -> Reply:
        error = body["error"]
        assert error["code"] in (400, 401, 404, 413, 429, 500, 502, 503, 504)
        return Reply(error=error["message"], kind=error["status"])


def _tokens(logprobs: Json) -> list[Token]:
    others = [_pairs(top["candidates"]) for top in logprobs.get("topCandidates", ())]
    chosen = _pairs(logprobs["chosenCandidates"])
    return [Token(text, logprob, top or ()) for (text, logprob), top in zip_longest(chosen, others)]


def _pairs(candidates: Sequence[Json]) -> tuple[tuple[str, float], ...]:
    return tuple((candidate["token"], candidate["logProbability"]) for candidate in candidates)


def _logprobs(tokens: Sequence[Token]) -> Json:
    def written(pairs: Sequence[tuple[str, float]]) -> list[Json]:
        return [{"token": text, "logProbability": logprob} for text, logprob in pairs]

    chosen = written([(token.text, token.logprob) for token in tokens])
    return {"chosenCandidates": chosen, "topCandidates": [{"candidates": written(token.others)} for token in tokens]}


class GeminiBackend:
    """Gemini as a provider."""

    name = "gemini"
    credential = ("x-goog-api-key", SECRET)
    has = HAS
    own = frozenset({"name of a document"})
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        method = "streamGenerateContent?alt=sse" if streamed else "generateContent"
        return f"/v1beta/models/{UPSTREAM_MODEL}:{method}"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return ":streamGenerateContent" in request.target

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("gemini", address)

    def whole(self, told: Told) -> Json:
        piece = self._piece(self._parts(told), told.tokens)
        piece["candidates"][0] |= self._end(told)
        piece["candidates"] += (
            {"content": {"role": "model", "parts": [{"text": text}]}, "index": number, "finishReason": "STOP"}
            for number, text in enumerate(told.others, 1)
        )
        return {**piece, "usageMetadata": self._usage(told)}

    def pieces(self, told: Told) -> list[bytes]:
        pieces = [
            self._piece([part], [token] if token else ())
            for part, token in zip_longest(self._parts(told), told.tokens)  # a text's parts come first where they count
        ]
        for number, other in enumerate(told.others, 1):
            said = [self._piece([{"text": text}]) for text in halves(other)]
            for piece in said:
                piece["candidates"][0]["index"] = number
            said[-1]["candidates"][0]["finishReason"] = "STOP"
            pieces[1:1] = said  # between the pieces of the first
        last = self._piece([{"text": ""}])
        last["candidates"][0] |= self._end(told)
        return [*map(event, pieces), event({**last, "usageMetadata": self._usage(told)})]

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

    def _piece(self, parts: list[Json], tokens: Sequence[Token] = ()) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if tokens:
            candidate["logprobsResult"] = _logprobs(tokens)
        return {"candidates": [candidate], "modelVersion": UPSTREAM_MODEL, "responseId": "r1"}

    def _end(self, told: Told) -> Json:
        place = {"startIndex": 0, "endIndex": len(told.text)}
        sources = [{**place, "uri": url, "title": title} for url, title in told.sources]
        return given(finishReason=_REASONS[told.finish], citationMetadata={"citations": sources} if sources else None)

    def _usage(self, told: Told) -> Json:
        read, cached, written = told.usage
        return given(
            promptTokenCount=read,
            cachedContentTokenCount=cached or None,
            candidatesTokenCount=written - told.thought_tokens,
            thoughtsTokenCount=told.thought_tokens or None,
            totalTokenCount=read + written,
        )

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
        blobs = [part["inlineData"] for part in asked if "inlineData" in part]
        links = [part["fileData"] for part in asked if "fileData" in part]
        config: Json = body.get("generationConfig", {})
        calling: Json = body.get("toolConfig", {}).get("functionCallingConfig", {})
        return Seen(
            model=request.target.removeprefix("/v1beta/models/").partition(":")[0],
            is_streaming=self.is_streaming(request),
            system="".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ())),
            texts=tuple(part["text"] for part in asked if "text" in part),
            images=tuple(
                [link["fileUri"] for link in links if link["mimeType"] == "image/png"]
                + [blob["data"] for blob in blobs if blob["mimeType"] == "image/png"]
            ),
            sounds=tuple(blob["data"] for blob in blobs if blob["mimeType"] == "audio/wav"),
            files=tuple(
                (blob.get("displayName", ""), blob["mimeType"], blob["data"])
                for blob in blobs
                if blob["mimeType"] not in ("image/png", "audio/wav")
            ),
            failed=any("error" in each["response"] for each in results),
            file_urls=tuple(link["fileUri"] for link in links if link["mimeType"] == "application/pdf"),
            tools={
                function["name"]: function.get("parametersJsonSchema", function.get("parameters"))
                for function in functions
            },
            choice="".join(calling.get("allowedFunctionNames", ()))
            or {"ANY": "required", "NONE": "none"}.get(calling.get("mode", ""), ""),
            thinks=config.get("thinkingConfig", {}).get("includeThoughts") is True,
            schema=config.get("responseJsonSchema"),
            is_json=config.get("responseMimeType") == "application/json" and "responseJsonSchema" not in config,
            logprobs=config.get("logprobs", 0) if config.get("responseLogprobs") else None,
            settings=settings_in(body, SETTINGS),
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
