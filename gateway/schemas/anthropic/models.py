"""What differs between generations of Claude, told by a model's name, whatever a cloud puts around it."""

import re

DEFAULT_MAX_TOKENS = 4096
"""Anthropic wants a limit of the answer where other dialects need none. Every model takes this one."""

DEFAULT_MAX_TOKENS_SINCE_4 = 32000
"""The same for Claude 4 and later, the most that all of them take."""

_SINCE_4 = re.compile(r"claude-[a-z]+-(?:[4-9](?!\d)|[1-9]\d(?!\d)|preview)")
_SINCE_4_6 = re.compile(r"claude-[a-z]+-(?:4-(?:[6-9]|\d\d)(?!\d)|[5-9](?!\d)|[1-9]\d(?!\d)|preview)")


def default_max_tokens(model: str) -> int:
    """The limit for an answer of whatever length it takes."""
    return DEFAULT_MAX_TOKENS_SINCE_4 if _SINCE_4.search(model) else DEFAULT_MAX_TOKENS


def thinks_adaptively(model: str) -> bool:
    """Whether the model is told an effort and finds the tokens for it itself. All others are told a number."""
    return _SINCE_4_6.search(model) is not None
