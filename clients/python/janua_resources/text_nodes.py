"""Configuration text as trees of nodes: how big it may be, and whether it is JSON or YAML."""

import re
from typing import Final

from janua_resources.json_nodes import read_json
from janua_resources.nodes import MAX_NODES, Budget, Node, Place, Report, UnreadableError
from janua_resources.yaml_nodes import read_yaml

MAX_BYTES: Final = 16 * 1024 * 1024

# What YAML allows; libyaml refuses the rest without saying where.
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The beginning of a JSON object, which YAML does not often have.
_JSON_START: Final = re.compile(r'\s*\{\s*["}]')


def read_text(text: str, report: Report, *, max_nodes: int = MAX_NODES) -> list[Node]:
    """The roots of the documents in `text`, at most `max_nodes` nodes in all. What is wrong is reported."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        report(Place(1, 1), f"the text is larger than {MAX_BYTES // 2**20} MiB")
        return []
    if not _JSON_START.match(text):
        return _read_yaml(text, Budget(max_nodes), report)
    try:
        return [read_json(text, Budget(max_nodes), report)]
    except UnreadableError as json_error:
        return _read_yaml_instead(text, json_error, Budget(max_nodes), report)


def _read_yaml(text: str, budget: Budget, report: Report) -> list[Node]:
    found = _UNPRINTABLE.search(text)
    if found is None:
        return read_yaml(text, budget, report)
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    report(Place(line, column), f"character U+{ord(found[0]):04X} is not allowed here; write it as an escape in quotes")
    return []


def _read_yaml_instead(text: str, json_error: UnreadableError, budget: Budget, report: Report) -> list[Node]:
    """Reads what begins as JSON and is not: YAML, with single quotes or comments, unless it is not YAML either."""
    problems: list[tuple[Place, str]] = []
    roots = _read_yaml(text, budget, lambda place, message: problems.append((place, message)))
    if problems:
        report(json_error.place, json_error.message)
        return []
    return roots
