"""How much work something is, counted and not timed."""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType


def calls(function: Callable[[], object]) -> Counter[str]:
    """How often what is called while a function runs, by the name of what is called. It includes built-in functions."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            counts[frame.f_code.co_name] += 1
        elif event == "c_call":
            counts[getattr(argument, "__name__", "")] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return counts
