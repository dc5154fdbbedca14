"""When a consumer makes sense: each of its keys is there once."""

from collections.abc import Iterator

from janua.config.v1.consumer_pb2 import Consumer

from janua_resources.violations import DUPLICATE, Problem


def check_consumer(consumer: Consumer) -> Iterator[Problem]:
    """What is wrong with the meaning of a consumer, seen alone."""
    places: dict[str, int] = {}
    for index, key in enumerate(consumer.api_keys):
        first = places.setdefault(key.key_sha256, index)
        if first != index:
            text = f"is the key of api_keys[{first}] already"
            yield Problem(field=f"api_keys[{index}].key_sha256", message=text, reason=DUPLICATE)
