"""The hash that nodes must agree on: the same bytes give the same number in every process."""

from hashlib import blake2b


def stable_hash(data: bytes) -> int:
    """A well-spread number of 64 bits."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
