"""The client of OpenAI's responses: items instead of messages, and streams of typed events."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.dialect_openai import OpenAIClient, files_of, read_token
from tests.conformance.dialects import (
    CHOICES,
    TOOL_PARAMETERS,
    TOOLS,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Told,
    data_url,
    given,
    sse_events,
)

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "limit of tokens": "max_output_tokens",
    "user": "user",
    "labels": "metadata",
}
HAS = (
    TOOLS
    | CHOICES
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "image by address",
        "PDF",
        "PDF by address",
        "document of text",
        "name of a document",
        "marks to cache",
        "JSON schema",
        "JSON without a schema",
        "one call at a time",
        "thinking",
        "thinking replayed",
        "cached tokens",
        "thinking tokens",
        "logprobs",
        "logprobs of other tokens",
        "sources",
        "refusal",
        "stop by a filter",
    }
)
_LOGPROBS = "message.output_text.logprobs"
_ENDS = ("response.completed", "response.incomplete")


class ResponsesClient(HttpClient):
    """OpenAI's responses. Nothing is to be stored, so thoughts come back encrypted."""

    name = "responses"
    kinds = OpenAIClient.kinds
    has = HAS
    settings = SETTINGS
    own_field = ("max_tool_calls", 3)

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v1/responses"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        mark = {"prompt_cache_breakpoint": {"mode": "explicit"}} if ask.caches else {}
        question: list[Json] = [{"type": "input_text", "text": ask.text, **mark}, *self.media(ask)]
        items: list[Json] = [{"type": "message", "role": "user", "content": question}]
        if ask.before is not None:
            items += self.turn(ask.before)
            items += [
                {"type": "function_call_output", "call_id": call.id, "output": ask.result} for call in ask.before.calls
            ] or [{"type": "message", "role": "user", "content": "and now?"}]
        functions = [{"name": name, "parameters": TOOL_PARAMETERS} for name in ask.tools]
        named = {"type": "function", "name": ask.choice}
        return given(
            model=ask.model,
            instructions=ask.system or None,
            input=items,
            tools=[{"type": "function", **function} for function in functions] or None,
            tool_choice=named if ask.choice in ask.tools else ask.choice or None,
            parallel_tool_calls=False if ask.one_call else None,
            reasoning={"effort": "low", "summary": "auto"} if ask.thinks else None,
            include=[_LOGPROBS] if ask.logprobs is not None else None,
            top_logprobs=ask.logprobs or None,
            text=self.form(ask),
            store=False,
            stream=streamed or None,
        )

    def media(self, ask: Ask) -> list[Json]:
        """What a question brings along."""
        pictures = [ask.image_url, data_url("image/png", ask.image) if ask.image else ""]
        parts: list[Json] = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in pictures if url]
        for name, url in files_of(ask):
            parts.append({"type": "input_file", "filename": name, "file_data": url})
        if ask.pdf_url:
            parts.append({"type": "input_file", "file_url": ask.pdf_url})
        return parts

    def form(self, ask: Ask) -> Json | None:
        """The form of the answer."""
        if ask.schema is not None:
            return {"format": {"type": "json_schema", "name": "answer", "schema": ask.schema}}
        return {"format": {"type": "json_object"}} if ask.is_json else None

    def turn(self, told: Told) -> list[Json]:
        """A turn of the model."""
        items: list[Json] = []
        if told.thinking:
            summary = [{"type": "summary_text", "text": told.thinking}]
            items.append(given(type="reasoning", summary=summary, encrypted_content=told.signature or None))
        if told.text:
            content = [{"type": "output_text", "text": told.text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": content})
        for call in told.calls:
            arguments = json.dumps(dict(call.arguments))
            items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
        return items

    def read_whole(self, body: Json) -> Reply:
        assert body["object"] == "response"
        assert body["status"] in ("completed", "incomplete")
        return Reply(models=frozenset({body["model"]}), told=self._told(body["output"], body))

    def _told(self, items: Sequence[Json], end: Json) -> Told:
        of = {kind: [item for item in items if item["type"] == kind] for kind in ("reasoning", "message")}
        parts = [part for item in of["message"] for part in item["content"]]
        texts = [part for part in parts if part["type"] == "output_text"]
        calls = tuple(
            Call(id=item["call_id"], name=item["name"], arguments=json.loads(item["arguments"]))
            for item in items
            if item["type"] == "function_call"
        )
        usage = end["usage"]
        return Told(
            thinking="".join(part["text"] for item in of["reasoning"] for part in item["summary"]),
            signature="".join(item.get("encrypted_content") or "" for item in of["reasoning"]),
            text="".join(part["text"] for part in texts),
            refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"),
            calls=calls,
            sources=tuple((source["url"], source["title"]) for part in texts for source in part["annotations"]),
            tokens=tuple(read_token(token) for part in texts for token in part["logprobs"]),
            finish=_finish(end, has_calls=bool(calls)),
            usage=(
                usage["input_tokens"],
                usage["input_tokens_details"]["cached_tokens"],
                usage["output_tokens"],
            ),
            thought_tokens=usage["output_tokens_details"]["reasoning_tokens"],
        )

    def read_stream(self, data: bytes) -> Reply:
        events = sse_events(data)
        told = [json.loads(text) for name, text in events if name != "error"]
        assert [event["type"] for event in told] == [name for name, _ in events if name != "error"]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        if events[-1][0] == "error":
            failed = self.read_error(json.loads(events[-1][1]))
            assert not any(event["type"] in _ENDS for event in told)
            return replace(failed, told=Told(text=_deltas(told, "output_text")))
        last = told[-1]
        reply = self.read_whole(last["response"])
        done = [event for event in told if event["type"] == "response.output_item.done"]
        items = [event["item"] for event in sorted(done, key=lambda event: event["output_index"])]
        assert last["response"]["output"] == items
        assert reply.told.text == _deltas(told, "output_text")
        assert reply.told.refusal == _deltas(told, "refusal")
        assert reply.told.thinking == _deltas(told, "reasoning_summary_text")
        return replace(reply, is_ended=last["type"] in _ENDS and told[0]["type"] == "response.created")

    def read_error(self, body: Json) -> Reply:
        return OpenAIClient().read_error(body)


def _finish(end: Json, *, has_calls: bool) -> str:
    if end["status"] == "incomplete":
        reason: str = end["incomplete_details"]["reason"]
        return {"max_output_tokens": "length"}.get(reason, reason)
    return "tool_calls" if has_calls else "stop"


def _deltas(events: Sequence[Any], kind: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")
