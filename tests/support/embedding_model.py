"""An embedding model whose vectors a test can tell beforehand: texts that begin with the same word mean the same."""

import base64
import math
import random
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.http_wire import json_response
from tests.support.scripts import Exchange, Script


def vector_of(text: str, *, dimensions: int = 64) -> list[float]:
    """One for each first word, and a little to the side for the rest: the cosine of two with the same is about 0.99."""
    meaning, rest = random.Random(text.split()[0]), random.Random(text)
    direction = [meaning.gauss(0, 1) + 0.1 * rest.gauss(0, 1) for _ in range(dimensions)]
    length = math.hypot(*direction)
    return [number / length for number in direction]


def vectors(*, dimensions: int = 64) -> Script:
    """Answers as OpenAI's embeddings do, in the encoding that is asked for."""

    async def script(exchange: Exchange) -> None:
        asked = exchange.request.json()
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, asked)}
            for index, vector in enumerate(vector_of(text, dimensions=dimensions) for text in asked["input"])
        ]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        answer = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
        await exchange.send(json_response(200, answer))

    return script


def as_base64(numbers: Sequence[float]) -> str:
    """The form that Janua asks for."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _encoded(vector: Sequence[float], asked: Mapping[str, Any]) -> Any:
    return as_base64(vector) if asked.get("encoding_format") == "base64" else vector
