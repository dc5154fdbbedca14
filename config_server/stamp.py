"""What a write leaves on all that it writes."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a batch writes beside the content. `no_values`: why secrets may not hold their value; empty if they may."""

    revision: int
    time: datetime
    author: str
    set: str
    no_values: str = ""
