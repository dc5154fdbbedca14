"""When a consumer makes sense: each of its keys is a digest, and there once; a certificate can have its names."""

import re
from collections.abc import Iterator
from typing import Final

from janua.config.v1.consumer_pb2 import Consumer

from janua_resources.certificate_names import name_fault
from janua_resources.violations import DUPLICATE, Problem

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def check_consumer(consumer: Consumer) -> Iterator[Problem]:
    """What is wrong with the meaning of a consumer, seen alone."""
    places: dict[str, int] = {}
    for index, key in enumerate(consumer.api_keys):
        if not _DIGEST.fullmatch(key.key_sha256):
            # What stands there may be the key itself: it is not repeated.
            text = "is not a SHA-256 of 64 lower-case hexadecimal digits"
            yield Problem(field=f"api_keys[{index}].key_sha256", message=text)
            continue
        first = places.setdefault(key.key_sha256, index)
        if first != index:
            text = f"is the key of api_keys[{first}] already"
            yield Problem(field=f"api_keys[{index}].key_sha256", message=text, reason=DUPLICATE)
    for index, name in enumerate(consumer.certificate_names):
        if (fault := name_fault(name)) is not None:
            yield Problem(field=f"certificate_names[{index}]", message=fault)
