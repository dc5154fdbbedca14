"""What docs/stores.md says is true: its commands run, on a real PostgreSQL whose user and database they make."""

import asyncio
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.clients.janua_client.cli_runner import run_janua
from tests.config_server.server_process import server_process
from tests.docs.fenced import blocks
from tests.support.postgres_server import PostgresServer, programs

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"
_PASSWORD = "a password"


def _blocks(**places: str) -> list[list[str]]:
    """The commands of the page, in its order."""
    found = []
    for block in blocks(PAGE, "sh"):
        for place, real in places.items():
            block = block.replace(f"${place}", real)
        found.append(block.splitlines())
    return found


def _of_database(server: PostgresServer, line: str) -> None:
    """`createuser` and `createdb`, of a name that is free here. A password is asked for twice."""
    found = programs()
    assert found is not None
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "janua"}
    subprocess.run(
        [found / word if number == 0 else word for number, word in enumerate(line.replace("janua", "page").split())],
        check=True,
        env={**os.environ, **variables},
        input=f"{_PASSWORD}\n" * 2,
        text=True,
        start_new_session=True,  # or it would ask at the terminal
    )


@pytest.mark.component("postgres")
@pytest.mark.timeout(180)
async def test_every_command_works(
    own_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "everything").mkdir()
    (tmp_path / "everything" / "janua.yaml").write_text('upstreams: [{name: u, endpoints: [{address: "127.0.0.1:1"}]}]')
    store = f"postgresql://page:{_PASSWORD.replace(' ', '%20')}@127.0.0.1:{own_postgres.port}/page"
    make, accept, copies = _blocks(STORE=store, DATABASE=await own_postgres.new_database())
    *of_database, start = make
    for line in of_database:
        await asyncio.to_thread(_of_database, own_postgres, line)
    program, plane, option, address = shlex.split(start)
    assert (program, plane, option) == ("janua", "config-server", "--store")
    assert address.replace("janua:PASSWORD@db.internal/janua", "") == "postgresql://"
    async with server_process("--listen", "127.0.0.1:0", option, store) as server:
        for line in accept:
            await _works(line, JANUA_SERVER=server.address)
        assert (await _works(copies[0])).startswith("revision 1, 1 resources written to backup-1.db")
    for line in copies[1:]:
        assert "revision 1, 1 resources" in await _works(line)


async def _works(line: str, **variables: str) -> str:
    """What it prints."""
    program, *arguments = shlex.split(line, comments=True)
    assert program == "janua"
    done = await run_janua(*arguments, env=variables)
    assert done.code == 0, f"{line}: {done.err}"
    return done.out
