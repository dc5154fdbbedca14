"""The commands `config-server`, `gateway`, `store` and `access`: they become the program that does it."""

import os
import sys
from typing import NoReturn

import typer


def config_server(context: typer.Context) -> None:
    """Run the config server alone."""
    _become("config_server", context.args)


def gateway(context: typer.Context) -> None:
    """Run one gateway node."""
    _become("gateway", context.args)


def store(context: typer.Context) -> None:
    """Back up, restore and migrate what a config server keeps."""
    _become("config_server.store_command", context.args)


def access(context: typer.Context) -> None:
    """Say who may do what at the config server."""
    _become("config_server.access_command", context.args)


def _become(module: str, arguments: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(sys.executable, plane_command(module, *arguments))  # noqa: S606  # no shell is what is wanted


def plane_command(module: str, *arguments: str) -> list[str]:
    """How a plane is started: with this interpreter, and never with a module of the working directory (`-P`)."""
    return [sys.executable, "-P", "-m", module, *arguments]
