"""Which nodes a question is about. Pure."""

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from google.rpc import code_pb2
from janua.discovery.v3.matcher_pb2 import NodeMatcher, StringMatcher
from janua_resources.regexes import compile_regex

from config_server.errors import ApiError

# Takes a node's id.
Matches: TypeAlias = Callable[[str], bool]

# By the field of `StringMatcher`, given a text and the pattern.
_COMPARISONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


def node_matches(matchers: Iterable[NodeMatcher]) -> Matches:
    """Whether any of the matchers matches; without any, every node does. Raises ApiError for one that is wrong."""
    parts = [_one_matches(matcher) for matcher in matchers]
    return lambda node_id: not parts or any(part(node_id) for part in parts)


def _one_matches(matcher: NodeMatcher) -> Matches:
    if matcher.node_metadatas:
        raise _refused("node_metadatas: nodes are known by their ids only; use node_id")
    return _text_matches(matcher.node_id) if matcher.HasField("node_id") else lambda _: True


def _text_matches(matcher: StringMatcher) -> Matches:
    kind = matcher.WhichOneof("match_pattern")
    if kind is None:
        raise _refused("node_id: give one of exact, prefix, suffix, contains, safe_regex")
    if kind == "safe_regex":
        try:
            regex = compile_regex(matcher.safe_regex.regex)
        except ValueError as error:
            raise _refused(f"node_id.safe_regex: {error}") from None
        return lambda node_id: regex.fullmatch(node_id) is not None
    compare, pattern = _COMPARISONS[kind], getattr(matcher, kind)
    if matcher.ignore_case:
        folded = pattern.lower()
        return lambda node_id: compare(node_id.lower(), folded)
    return lambda node_id: compare(node_id, pattern)


def _refused(text: str) -> ApiError:
    return ApiError(code_pb2.INVALID_ARGUMENT, "NODE_MATCHER_INVALID", f"node_matchers: {text}")
