"""What of a conversation may be said in other words: those of its last message. All else must be the same. Pure."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.response_cache.request_key import effective_request
from gateway.types import ChatRequest, Role, TextPart

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Question:
    """The words of the last message, and what is asked beside them, as bytes: equal for conversations that differ in
    these words alone, and have the same numbers in them."""

    words: str
    rest: bytes


def question_of(request: ChatRequest, body: bytes | None) -> Question | None:
    """What is asked in a conversation. `body` is the JSON that it was read from, if backends get that: there may be
    more in it. None if the last message is not the user's, has no words, or its words stand elsewhere in the body too,
    where they must be the same."""
    if not request.messages or (last := request.messages[-1]).role is not Role.USER:
        return None
    texts = [part.text for part in last.content if isinstance(part, TextPart) and part.text]
    words = "\n".join(texts)
    if not words.strip():
        return None
    wordless = tuple(
        msgspec.structs.replace(part, text="") if isinstance(part, TextPart) else part for part in last.content
    )
    last = msgspec.structs.replace(last, content=wordless)
    rest = effective_request(msgspec.structs.replace(request, messages=(*request.messages[:-1], last)))
    if rest is None:
        return None
    unread = b""
    if body is not None:
        wanted, found = Counter(texts), Counter[str]()
        unread = msgspec.json.encode(_without(wanted, found, msgspec.json.decode(body)), order="sorted")
        if found != wanted:
            return None
    return Question(words, msgspec.msgpack.encode((rest, unread, _NUMBER.findall(words))))


def _without(wanted: Counter[str], found: Counter[str], value: Any) -> Any:
    """The JSON value with nothing in the place of these texts, which are counted."""
    match value:
        case str() if value in wanted:
            found[value] += 1
            return ""
        case list():
            return [_without(wanted, found, each) for each in value]
        case dict():
            return {name: _without(wanted, found, each) for name, each in value.items()}
        case _:
            return value
