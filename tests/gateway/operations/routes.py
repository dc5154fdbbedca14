"""The least that the router needs of a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """A request that is passed through."""

    path: str
    host: str = ""
    method: str = "GET"
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    is_inference: bool = False
