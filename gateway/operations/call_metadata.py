"""What a backend that speaks gRPC is told beside the messages of a call of a model. Pure."""

import re
from collections.abc import Sequence

from gateway.providers.pass_through import nominated, pass_through_metadata

Pairs = Sequence[tuple[bytes, bytes]]

# What says something of a body over HTTP, which the backend does not get, and a credential.
_OF_HTTP = frozenset(
    {
        b"content-length", b"content-encoding", b"accept", b"accept-encoding", b"expect", b"cookie",
        b"inference-header-content-length",
    }
)  # fmt: skip

# "PROTOCOL-HTTP2.md" of gRPC: names, and values that are not binary.
_NAME = re.compile(rb"[0-9a-z_.-]+")
_TEXT = re.compile(rb"[ -~]*")


def call_metadata(sent: Pairs, request_id: str, *, is_from_grpc: bool) -> list[tuple[str, str | bytes]]:
    """The end-to-end headers or metadata of a caller, without its credentials. What gRPC cannot carry stays behind."""
    dropped = _OF_HTTP | nominated(sent)
    kept = (pair for pair in sent if pair[0] not in dropped and _can_be_sent(*pair, is_from_grpc=is_from_grpc))
    return pass_through_metadata(kept, request_id)


def _can_be_sent(name: bytes, value: bytes, *, is_from_grpc: bool) -> bool:
    if name.endswith(b"-bin"):
        return is_from_grpc
    return _NAME.fullmatch(name) is not None and _TEXT.fullmatch(value) is not None
