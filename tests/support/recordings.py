"""Recorded exchanges with real providers. A test that reads them says `@pytest.mark.component("recordings")`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.components import RECORDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One request and its answer. `answer` are the bytes of the body; JSON bodies have lost their white space."""

    name: str
    request: dict[str, Any]
    status: int
    is_streaming: bool
    answer: bytes

    def json(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.answer)


def load(name: str) -> Recording:
    """The recording of that name, such as `openai/chat-completions/basic`."""
    found = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    response = found["response"]
    streamed = next((response[framing] for framing in ("sse", "ndjson") if framing in response), None)
    answer: str = json.dumps(response["body"], ensure_ascii=False) if streamed is None else streamed
    return Recording(
        name=name,
        request=found["request"]["body"],
        status=response["status"],
        is_streaming=found["streaming"],
        answer=answer.encode(),
    )


def names(apis: Iterable[str]) -> list[str]:
    """The names of all recordings of these APIs, of all providers. Never empty, so that a test of each is never
    passed over in silence: without recordings it is skipped, or fails, for want of the component."""
    paths = sorted(path for api in apis for path in RECORDINGS.glob(f"*/{api}/*.json"))
    return [_name(path) for path in paths] or ["absent"]


def _name(path: Path) -> str:
    return path.relative_to(RECORDINGS).with_suffix("").as_posix()
