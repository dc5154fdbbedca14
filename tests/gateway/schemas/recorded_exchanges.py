"""Recorded exchanges as bytes, whatever the provider frames its streams by; with the request's address, which for some
names the model."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.components import RECORDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and the bytes of its answer. JSON bodies have lost their white space."""

    url: str
    request: Any
    answer: bytes
    is_streaming: bool

    @property
    def body(self) -> bytes:
        """The request as bytes."""
        return json.dumps(self.request, ensure_ascii=False).encode()


def load(name: str) -> Exchange:
    """The recording of that name, such as `gemini/generateContent/basic`."""
    found = json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))
    response = found["response"]
    stream = response.get("sse") or response.get("ndjson")
    return Exchange(
        url=found["request"]["url"],
        request=found["request"]["body"],
        answer=(stream or json.dumps(response["body"], ensure_ascii=False)).encode(),
        is_streaming=stream is not None,
    )


def names(*patterns: str) -> list[str]:
    """The names of all recordings like `gemini/generateContent/*`. Never empty, so that a test of each is skipped, or
    fails, for want of the component."""
    paths = sorted(path for pattern in patterns for path in RECORDINGS.glob(f"{pattern}.json"))
    return [path.relative_to(RECORDINGS).with_suffix("").as_posix() for path in paths] or ["absent"]
