"""Programs that use the clients of others: one process each, which does as it is asked as long as tests want. See
`serve.py` and `serve.mjs` for what goes over the pipes of those that run scenarios."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.environments import FRAMEWORKS, NODE_MODULES

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_EXIT_S = 10.0


class LineProgram:
    """A child process that answers a line of JSON with another."""

    def __init__(self, command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        # Nothing of the surroundings may tell clients where to go, or what they are called.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._process = subprocess.Popen(
            command, cwd=cwd, env={**kept, **(env or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    async def ask(self, **asked: Any) -> Mapping[str, Any]:
        """What the program answers. One question at a time."""
        line = await asyncio.to_thread(self._exchange, json.dumps(asked))
        result: Mapping[str, Any] = json.loads(line)
        return result

    def _exchange(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the program has ended: {self._process.args!r}"
        return answer

    def stop(self) -> None:
        """Ends it in order, and if it does not end, at once."""
        assert self._process.stdout is not None
        with self._process.stdout:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_EXIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise


class ClientProgram(LineProgram):
    """One that runs scenarios."""

    async def run(self, variant: str, scenario: str, *, url: str, key: str) -> Mapping[str, Any]:
        """What the client gave, or `error` with what it raised."""
        return await self.ask(variant=variant, scenario=scenario, url=url, key=key)


def python_program(name: str) -> ClientProgram:
    """A module of `tests/support/frameworks`."""
    command = [str(FRAMEWORKS.python), "-W", "ignore", "-m", f"tests.support.frameworks.{name}"]
    return ClientProgram(command, cwd=_ROOT)


def node_program(name: str, folder: Path) -> ClientProgram:
    """A module of `tests/support/node`."""
    return ClientProgram(node_command(name, folder), cwd=folder)


def node_command(name: str, folder: Path) -> list[str]:
    """Makes a module of `tests/support/node` ready in a folder of its own: Node looks for packages beside the program.
    Gives the command that runs it there."""
    for source in (_HERE / "node").glob("*.mjs"):
        shutil.copy(source, folder)
    (folder / "node_modules").symlink_to(NODE_MODULES)
    return ["node", f"{name}.mjs"]
