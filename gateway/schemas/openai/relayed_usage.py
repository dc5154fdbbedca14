"""Tokens that OpenAI's answers with pictures and sound tell, read without decoding what they are about. Pure.

Some call them `input_tokens`, some `prompt_tokens`, as chat does. Answers that tell seconds, or nothing, have none.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.schemas.openai.fields import UNREADABLE, UsageFields
from gateway.types import Usage

# Usage stands near the end of an answer, or of its last event. In a text the quotes would be escaped.
_TAIL_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(r'"usage"\s*:\s*(?=\{)')

_NAMES: Final = (
    ("prompt_tokens", ("input_tokens",)),
    ("completion_tokens", ("output_tokens",)),
    ("prompt_tokens_details", ("input_tokens_details", "input_token_details")),
    ("completion_tokens_details", ("output_tokens_details", "output_token_details")),
)

_json_decoder = json.JSONDecoder()


class _Answer(msgspec.Struct):
    usage: dict[str, Any] | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


def read_relayed_usage(body: bytes) -> Usage | None:
    """The usage in a whole answer, if it is there."""
    try:
        told = _answer_decoder.decode(body).usage
    except UNREADABLE:
        return None
    return None if told is None else _usage(told)


class UsageTail:
    """Watches a streamed answer go by, JSON or events, for the usage at its end."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Takes what has gone by."""
        self._tail = data[-_TAIL_BYTES:] if len(data) >= _TAIL_BYTES else (self._tail + data)[-_TAIL_BYTES:]

    @property
    def usage(self) -> Usage | None:
        """The last usage so far."""
        text = self._tail.decode("utf-8", "replace")
        for found in reversed(list(_USAGE.finditer(text))):
            try:
                told, _ = _json_decoder.raw_decode(text, found.end())
            except (ValueError, RecursionError):
                continue
            return _usage(told)
        return None


def _usage(told: Mapping[str, Any]) -> Usage | None:
    fields = {ours: next((told[name] for name in (ours, *theirs) if name in told), None) for ours, theirs in _NAMES}
    if fields["prompt_tokens"] is None and fields["completion_tokens"] is None:
        return None
    try:
        return msgspec.convert(fields, UsageFields).to_usage()
    except msgspec.ValidationError:
        return None
