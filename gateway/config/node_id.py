"""The id of a node that was not given one: made once, kept in its state directory."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.config.state_file import move_aside, write_atomically

_FILE_NAME = "node-id"
_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")

_log = structlog.get_logger("janua.config")


def _make_node_id() -> str:
    return f"node-{secrets.token_hex(6)}"


def load_or_make_node_id(directory: Path, make: Callable[[], str] = _make_node_id) -> str:
    """The id kept in the directory; if there is none, or it is not an id, a new one. Raises OSError."""
    path = directory / _FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _keep(path, make())
    node_id = content.decode("utf-8", "replace").strip()
    if _ID.fullmatch(node_id):
        return node_id
    _log.warning("the file of the node id does not hold an id: making a new one", moved_to=str(move_aside(path) or ""))
    return _keep(path, make())


def _keep(path: Path, node_id: str) -> str:
    write_atomically(path, [node_id.encode() + b"\n"])
    return node_id
