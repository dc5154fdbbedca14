"""What a write leaves on all that it writes."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a batch writes beside the content."""

    revision: int
    time: datetime
    author: str
    set: str
    takes_values: bool
