"""One principal of each role, and channels that show their tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import yaml
from grpc import aio

from config_server.access.principal import Role
from tests.config_server.running_server import CHANNEL_OPTIONS

TOKENS: Mapping[str, str] = {role.value: f"token-of-{role.value}" for role in Role}


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def entry(role: str, name: str = "", **fields: Any) -> dict[str, Any]:
    """One with the token of its role, unless it is given other credentials."""
    name = name or f"the-{role}"
    credentials = {} if "certificates" in fields else {"token_sha256": [sha256(TOKENS[role])]}
    return {"name": name, "role": role, **credentials, **fields}


def write(path: Path, entries: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Writes an access file: of one principal of each role, or of these."""
    path.write_text(yaml.safe_dump([*map(entry, TOKENS)] if entries is None else list(entries)))
    return path


def channel(address: str, token: str) -> aio.Channel:
    """Shows a token, in plain text on loopback; none if it is empty."""
    if not token:
        return aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    credentials = grpc.composite_channel_credentials(
        grpc.local_channel_credentials(), grpc.access_token_call_credentials(token)
    )
    return aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
