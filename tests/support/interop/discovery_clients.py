"""Clients of gRPC that dial `xds:///janua`, as processes of their own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.client_programs import LineProgram, node_command
from tests.support.environments import INTEROP

_ROOT = Path(__file__).parents[3]


PLAIN: Mapping[str, Any] = {"type": "insecure"}


def bootstrap(server: str, node_id: str, credentials: Mapping[str, Any] = PLAIN) -> str:
    """What such clients are told at their start. `credentials`: for the config server."""
    return json.dumps(
        {
            "xds_servers": [{"server_uri": server, "channel_creds": [credentials]}],
            # gRPC for Node wants a place.
            "node": {"id": node_id, "locality": {"zone": "here"}},
        }
    )


def python_client(server: str, key: str, credentials: Mapping[str, Any] = PLAIN) -> LineProgram:
    """`tests/support/interop/grpc_client.py`."""
    path = f"{_ROOT}:{_ROOT / 'proto' / 'gen'}"
    command = [str(INTEROP.python), "-m", "tests.support.interop.grpc_client", key]
    return LineProgram(command, cwd=_ROOT, env={"PYTHONPATH": path, **_env(server, "grpc-python", credentials)})


def node_client(server: str, key: str, folder: Path) -> LineProgram:
    """`tests/support/node/grpc_client.mjs`."""
    command = [*node_command("grpc_client", folder), key, str(_ROOT / "proto")]
    return LineProgram(command, cwd=folder, env=_env(server, "grpc-node"))


def _env(server: str, node_id: str, credentials: Mapping[str, Any] = PLAIN) -> Mapping[str, str]:
    return {"GRPC_XDS_BOOTSTRAP_CONFIG": bootstrap(server, node_id, credentials)}
