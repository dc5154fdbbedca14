"""How many tokens a body is taken to have before a model has counted them."""

import re
from typing import Final

_BYTES_PER_TOKEN: Final = 4
# What is longer in base64 without a break is a picture, sound or a file, whose bytes are no measure of its tokens.
_BLOB: Final = re.compile(rb"[A-Za-z0-9+/_=-]{4096,}")
_TOKENS_PER_BLOB: Final = 1024


def estimated_tokens(body: bytes) -> int:
    """A quarter of its bytes; for a picture, sound or file in it 1024."""
    blobs = _BLOB.findall(body) if len(body) >= 4096 else ()
    if not blobs:
        return len(body) // _BYTES_PER_TOKEN
    return (len(body) - sum(map(len, blobs))) // _BYTES_PER_TOKEN + len(blobs) * _TOKENS_PER_BLOB
