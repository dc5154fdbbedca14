"""The few bytes of gRPC readiness calls: a request that names something, an answer that is one number. Pure.

`grpc.health.v1.Health/Check` and the readiness calls of the Open Inference Protocol have the same shape: a string as
field 1 of the request, an enum or a boolean as field 1 of the answer.
"""

from typing import Final

HEALTH_METHOD: Final = "/grpc.health.v1.Health/Check"
SERVER_READY_METHOD: Final = "/inference.GRPCInferenceService/ServerReady"
MODEL_READY_METHOD: Final = "/inference.GRPCInferenceService/ModelReady"

HEALTH_STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

_FIELD_1_BYTES = 0x0A
_FIELD_1_NUMBER = 0x08


def encode_name(name: str) -> bytes:
    """A message with that name as its field 1; no bytes for the empty name."""
    data = name.encode()
    return bytes([_FIELD_1_BYTES]) + _varint(len(data)) + data if data else b""


def decode_number(message: bytes) -> int:
    """Field 1 of an answer; 0 if it is not there. Raises `ValueError` for what is no such message."""
    if not message:
        return 0
    if message[0] != _FIELD_1_NUMBER or len(message) < 2 or message[-1] & 0x80:
        raise ValueError("the answer is not understood")
    return sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(message[1:]))


def encode_truth(value: bool) -> bytes:
    """An answer with that truth value as its field 1."""
    return bytes([_FIELD_1_NUMBER, 1]) if value else b""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
