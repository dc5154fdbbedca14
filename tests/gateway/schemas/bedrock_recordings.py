"""Recorded exchanges with Bedrock's Converse, whole and streamed."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from gateway.framing.aws_event_stream import AwsEventStreamParser
from gateway.framing.sse import ServerSentEvent
from tests.support.components import RECORDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockRecording:
    """One request and its answer: `answer` are the bytes of its body, `events` those of a stream."""

    name: str
    path: str
    request: dict[str, Any]
    answer: bytes
    events: tuple[ServerSentEvent, ...] = ()

    @property
    def model(self) -> str:
        """The model, as the path has it."""
        return self.path.split("/")[2]


def load(name: str) -> BedrockRecording:
    """The recording of that name, such as `bedrock/converse/basic`."""
    found = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    request, response = found["request"], found["response"]
    path = "/" + request["url"].split("/", 3)[3]
    if "base64" in response:
        raw = base64.b64decode(response["base64"])
        events = tuple(AwsEventStreamParser().feed(raw))
        return BedrockRecording(name=name, path=path, request=request["body"], answer=raw, events=events)
    answer = json.dumps(response["body"], ensure_ascii=False).encode()
    return BedrockRecording(name=name, path=path, request=request["body"], answer=answer)


def _names(folder: str) -> list[str]:
    paths = sorted(RECORDINGS.glob(f"bedrock/{folder}/*.json"))
    return [path.relative_to(RECORDINGS).with_suffix("").as_posix() for path in paths]


# Never empty, so that a test of each is skipped, or fails, for want of the component.
ERRORS = [name for name in _names("converse") if "/error-" in name] or ["absent"]
WHOLE = [name for name in _names("converse") if "/error-" not in name] or ["absent"]
STREAMS = _names("converse-stream") or ["absent"]
ALL = [*ERRORS, *WHOLE, *STREAMS]
