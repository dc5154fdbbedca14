"""What belongs to a function call and has no canonical place of its own, or none in Anthropic's call blocks.

`ToolCall.signature` is a text that goes back with the call. Anthropic's own details of a call (who called: the model or
its code) travel in it as JSON. Signatures of other backends travel to Anthropic's clients and back in a thinking block
without thoughts, for these are what clients must send back unchanged.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.schemas.openai.fields import UNREADABLE

_CARRIER = "janua.call_signature:"
_DEFAULT_CALLER = {"type": "direct"}

_pair_decoder = msgspec.json.Decoder(tuple[str, str])


def pack_details(details: Mapping[str, Any]) -> str | None:
    """A call's own details as its signature; None if there is nothing but what goes without saying."""
    told = {name: value for name, value in details.items() if value is not None}
    if told.get("caller") == _DEFAULT_CALLER:
        del told["caller"]
    return msgspec.json.encode(told).decode() if told else None


def unpack_details(signature: str | None) -> dict[str, Any]:
    """The details in a signature; nothing if it is another backend's."""
    if signature is None or not is_own(signature):
        return {}
    try:
        details = msgspec.json.decode(signature)
    except UNREADABLE:
        return {}
    return details if isinstance(details, dict) else {}


def is_own(signature: str) -> bool:
    """Whether a signature is of Anthropic's details."""
    return signature.startswith("{")


def carrier_block(call_id: str, signature: str) -> dict[str, Any]:
    """The thinking block that carries another backend's signature of a call."""
    carried = msgspec.json.encode((call_id, signature)).decode()
    return {"type": "thinking", "thinking": "", "signature": _CARRIER + carried}


def read_carrier(signature: str | None) -> tuple[str, str] | None:
    """The id of a call and its signature, if that is what the signature of a thinking block carries."""
    if signature is None or not signature.startswith(_CARRIER):
        return None
    try:
        return _pair_decoder.decode(signature.removeprefix(_CARRIER))
    except UNREADABLE:
        return None
