"""Recorded exchanges with real providers. A test that reads them says `@pytest.mark.component("recordings")`."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.components import RECORDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One request and its answer. `answer` are the bytes of the body; JSON bodies have lost their white space.

    `path` is where it was posted, with the query; of a request that was none, such as for a list of models, `request`
    is None.
    """

    name: str
    method: str
    path: str
    request: Any
    status: int
    is_streaming: bool
    answer: bytes
    content_type: str

    @property
    def api(self) -> str:
        """The API, such as `chat-completions`, whoever speaks it."""
        return self.name.split("/")[1]

    @property
    def body(self) -> bytes:
        """The request as bytes; empty if it has none."""
        return b"" if self.request is None else json.dumps(self.request, ensure_ascii=False).encode()

    def json(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.answer)


def load(name: str) -> Recording:
    """The recording of that name, such as `openai/chat-completions/basic`."""
    found = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    request, response = found["request"], found["response"]
    return Recording(
        name=name,
        method=request["method"],
        path="/" + request["url"].split("/", 3)[3],
        request=request["body"],
        status=response["status"],
        is_streaming=found["streaming"],
        answer=_answer(response),
        content_type=response["headers"].get("content-type", _content_type(response)),
    )


def _answer(response: dict[str, Any]) -> bytes:
    if "base64" in response:
        return base64.b64decode(response["base64"])
    streamed = next((response[framing] for framing in ("sse", "ndjson") if framing in response), None)
    answer: str = json.dumps(response["body"], ensure_ascii=False) if streamed is None else streamed
    return answer.encode()


def _content_type(response: dict[str, Any]) -> str:
    """What the framing tells where the headers were not recorded."""
    types = {
        "sse": "text/event-stream",
        "ndjson": "application/x-ndjson",
        "base64": "application/vnd.amazon.eventstream",
    }
    return next((kind for framing, kind in types.items() if framing in response), "application/json")


def everything() -> list[str]:
    """The names of all recordings; never empty, as `names`."""
    return [_name(path) for path in sorted(RECORDINGS.glob("*/*/*.json"))] or ["absent"]


def names(apis: Iterable[str]) -> list[str]:
    """The names of all recordings of these APIs, of all providers. Never empty, so that a test of each is never
    passed over in silence: without recordings it is skipped, or fails, for want of the component."""
    paths = sorted(path for api in apis for path in RECORDINGS.glob(f"*/{api}/*.json"))
    return [_name(path) for path in paths] or ["absent"]


def _name(path: Path) -> str:
    return path.relative_to(RECORDINGS).with_suffix("").as_posix()
