"""Running the real tritonclient, which lives in another environment."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.environments import MLSERVER

_PROGRAM = Path(__file__).with_name("triton_client.py")
_TIMEOUT_S = 40.0


async def triton(
    command: str,
    protocol: str,
    address: str,
    model: str,
    *options: str,
    inputs: list[dict[str, Any]] | None = None,
) -> Any:
    """What `triton_client.py` prints, for example `await triton("infer", "grpc", node.grpc, "iris", inputs=[…])`."""
    given = ("--inputs", json.dumps(inputs)) if inputs is not None else ()
    process = await asyncio.create_subprocess_exec(
        *(str(MLSERVER.python), str(_PROGRAM), command, protocol, address, model, *options, *given),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)
