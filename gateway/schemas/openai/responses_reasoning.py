"""Thoughts as items of OpenAI's responses, and the signatures in them, whoever wrote those.

An item's `encrypted_content` comes back with its `id`, so both together are the signature of a thought of OpenAI's own.
What other backends sign or hide travels through clients of this dialect as `encrypted_content` that says what it is.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from gateway.types import ReasoningPart

# Six bytes are two whole groups of base64: the mark is seen without decoding the rest.
_OWN = b"openai"
_OWN_MARK = base64.b64encode(_OWN).decode()

_SIGNATURE = "janua.signature:"
_REDACTED = "janua.redacted:"
_CALL = "janua.call:"

_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class CallSignature:
    """What a backend wants back with a function call, whose item has no place for it."""

    call_id: str
    signature: str


def read_thought(identifier: str, encrypted: str | None, text: str) -> ReasoningPart | CallSignature | None:
    """The thought in an item; None if there is nothing in it."""
    if not encrypted:
        return ReasoningPart(text=text) if text else None
    if encrypted.startswith(_SIGNATURE):
        return ReasoningPart(text=text, signature=encrypted.removeprefix(_SIGNATURE))
    if encrypted.startswith(_REDACTED):
        return ReasoningPart(redacted=encrypted.removeprefix(_REDACTED))
    if encrypted.startswith(_CALL):
        call_id, _, signature = encrypted.removeprefix(_CALL).partition(":")
        return CallSignature(unquote(call_id), signature)
    return ReasoningPart(text=text, signature=_sign(identifier, encrypted))


def signed_fields(signature: str) -> dict[str, str]:
    """The fields of an item, whatever its `id`, that carries a signature."""
    return {"encrypted_content": _SIGNATURE + signature}


def own_fields(signature: str) -> dict[str, str] | None:
    """`id` and `encrypted_content` as OpenAI wrote them, which belong together; None if it did not."""
    if not signature.startswith(_OWN_MARK):
        return None
    try:
        # Some clients hold signatures as bytes, and write them in the other alphabet.
        told = base64.b64decode(signature.translate(_URL_SAFE), validate=True).removeprefix(_OWN).decode()
    except (binascii.Error, ValueError):
        return None
    identifier, _, encrypted = told.partition(":")
    fields = {"id": unquote(identifier), "encrypted_content": encrypted}
    return {name: value for name, value in fields.items() if value}


def redacted_fields(data: str) -> dict[str, str]:
    """The fields of an item that carries another backend's hidden thought."""
    return {"encrypted_content": _REDACTED + data}


def call_fields(call_id: str, signature: str) -> dict[str, str]:
    """The fields of an item that carries the signature of a call."""
    return {"encrypted_content": f"{_CALL}{quote(call_id, safe='')}:{signature}"}


def reasoning_item(text: str, fields: dict[str, str]) -> dict[str, Any]:
    """An item with its text as a summary."""
    summary: Sequence[dict[str, str]] = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", **fields, "summary": summary}


def _sign(identifier: str, encrypted: str) -> str:
    return base64.b64encode(_OWN + f"{quote(identifier, safe='')}:{encrypted}".encode()).decode()
