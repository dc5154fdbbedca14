"""The hash that nodes must agree on: the same bytes give the same number in every process."""

import struct
from hashlib import blake2b


def stable_hash(data: bytes) -> int:
    """A well-spread number of 64 bits."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def stable_hashes(data: bytes) -> tuple[int, ...]:
    """Eight such numbers, for little more than the price of one."""
    return struct.unpack(">8Q", blake2b(data).digest())
