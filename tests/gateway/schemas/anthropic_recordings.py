"""Recorded answers of Anthropic's messages, from Anthropic itself and over AWS, whose streams are framed otherwise."""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.framing.sse import ServerSentEvent, SseParser
from tests.support.components import RECORDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicRecording:
    """One request and its answer: the events of a stream, or the body of a whole answer."""

    name: str
    request: dict[str, Any]
    status: int
    events: tuple[ServerSentEvent, ...] = ()
    raw: bytes = b""
    body: bytes = b""

    def told(self) -> list[dict[str, Any]]:
        """The events of a stream as JSON."""
        return [json.loads(event.data) for event in self.events if event.data]


def load(name: str) -> AnthropicRecording:
    """The recording of that name, such as `anthropic/messages/basic`."""
    found = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    request, response = found["request"]["body"], found["response"]
    told: dict[str, Any] = {"name": name, "request": request, "status": response["status"]}
    if "sse" in response:
        raw = response["sse"].encode()
        return AnthropicRecording(**told, raw=raw, events=tuple(SseParser().feed(raw)))
    if "base64" in response:
        return AnthropicRecording(**told, events=tuple(_aws_events(base64.b64decode(response["base64"]))))
    return AnthropicRecording(**told, body=json.dumps(response["body"], ensure_ascii=False).encode())


def _aws_events(raw: bytes) -> Iterator[ServerSentEvent]:
    """The events in frames of AWS, each the base64 of what Anthropic says; check sums are passed over."""
    while raw:
        total, headers = struct.unpack(">II", raw[:8])
        payload = json.loads(raw[12 + headers : total - 4])
        yield ServerSentEvent(base64.b64decode(payload["bytes"]), "", raw[:total])
        raw = raw[total:]


def _names() -> Iterator[str]:
    for path in sorted(RECORDINGS.glob("anthropic/messages/*.json")):
        yield path.relative_to(RECORDINGS).with_suffix("").as_posix()
    for path in sorted(RECORDINGS.glob("bedrock/invoke*/*.json")):
        if "anthropic_version" in json.loads(path.read_text("utf-8"))["request"]["body"]:
            yield path.relative_to(RECORDINGS).with_suffix("").as_posix()


# Never empty, so that a test of each is skipped, or fails, for want of the component.
ALL = list(_names()) or ["absent"]
ERRORS = [name for name in ALL if "/error-" in name] or ["absent"]
STREAMS = [name for name in ALL if "/stream-" in name] or ["absent"]
WHOLE = [name for name in ALL if name not in ERRORS and name not in STREAMS] or ["absent"]
