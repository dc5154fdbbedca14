"""Hand-made hard cases of `tests/golden`: requests (`DIALECT/CASE.json`) and streamed answers (`DIALECT/CASE.sse`), and
what they become in every other dialect (`CASE.OTHER.json`, `CASE.OTHER.sse`). `CASE.refused.json` has the field that is
refused, by the dialects that have no place for it.

`python -m tests.gateway.schemas.golden_cases` writes what they become anew; read the difference before it is committed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.errors import InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.signatures import sealed
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
)
from gateway.types import ChatEvent
from tests.gateway.schemas.dialect_streams import decoded, streamed
from tests.support.pieces import cut

FOLDER = Path(__file__).parents[2] / "golden"

CLIENTS: Mapping[str, ChatDialect] = {
    each.name: each for each in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, COHERE_CHAT, OLLAMA_CHAT)
}
BACKENDS: Mapping[str, ChatDialect] = {**CLIENTS, BEDROCK_CONVERSE.name: BEDROCK_CONVERSE}

# Some models take less than their dialect has.
_MODELS = {ANTHROPIC_MESSAGES.name: "claude-sonnet-4-5", BEDROCK_CONVERSE.name: "anthropic.claude-sonnet-4-5"}

# What is made anew for each answer.
_MADE = re.compile(
    rb'("(?:created|created_at|completed_at)":)(?:"[^"]*"|\d+)|((?:resp|rs|msg|fc|call|chatcmpl)_)[0-9a-f]{24,}'
)


def cases(ending: str) -> list[str]:
    """The names of the cases, such as `openai_chat/roles`."""
    found = (path.relative_to(FOLDER) for path in FOLDER.glob(f"*/*{ending}"))
    return sorted(str(path).removesuffix(ending) for path in found if path.name.count(".") == 1)


def dialect_of(case: str) -> ChatDialect:
    """The dialect that a case is written in."""
    return BACKENDS[case.partition("/")[0]]


def asked(case: str) -> dict[str, Any]:
    """The request of a case."""
    value: dict[str, Any] = json.loads((FOLDER / f"{case}.json").read_bytes())
    return value


def others(case: str, dialects: Mapping[str, ChatDialect]) -> Iterator[ChatDialect]:
    """Those that the case is not written in."""
    return (each for each in dialects.values() if each is not dialect_of(case))


def translated(case: str, target: ChatDialect, *, drop: bool = False) -> dict[str, Any]:
    """The request as a backend of that dialect gets it. Raises `InvalidRequestError`."""
    request = dialect_of(case).decode_request(json.dumps(asked(case)).encode(), "m")
    model = _MODELS.get(target.name, "m")
    body: dict[str, Any] = json.loads(target.encode_request(request, model, stream=False, drop_unsupported=drop))
    return body


def groups(case: str) -> list[list[ChatEvent]]:
    """The events of a streamed answer as they came together, with signatures as clients of other dialects get them."""
    source = dialect_of(case)
    data = (FOLDER / f"{case}.sse").read_bytes()
    decoder = source.event_decoder()
    events = source.framing.parser().feed(data)
    return [list(sealed(decoder.decode(event), source.name)) for event in events]


def told(case: str, client: ChatDialect) -> bytes:
    """The streamed answer as a client of that dialect gets it, without what no two answers have in common."""
    return _MADE.sub(rb'\1\2"-"', streamed(client, groups(case)))


def is_same_however_it_is_cut(case: str) -> bool:
    """Whether the stream gives the same events in pieces of three bytes."""
    data = (FOLDER / f"{case}.sse").read_bytes()
    return decoded(dialect_of(case), cut(data, range(0, len(data), 3))) == decoded(dialect_of(case), [data])


def _write() -> None:
    for case in cases(".json"):
        refused: dict[str, str | None] = {}
        for target in others(case, BACKENDS):
            path = FOLDER / f"{case}.{target.name}.json"
            path.unlink(missing_ok=True)
            try:
                body = translated(case, target)
            except InvalidRequestError as error:
                refused[target.name] = error.param
            else:
                path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
        (FOLDER / f"{case}.refused.json").write_text(json.dumps(refused, indent=2) + "\n")
    for case in cases(".sse"):
        for client in others(case, CLIENTS):
            (FOLDER / f"{case}.{client.name}.sse").write_bytes(told(case, client))


if __name__ == "__main__":
    _write()
