"""The command `demo`: options and nothing more; what it runs stands in `janua_client.demo`."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from janua_client.cli.output import stdout
from janua_client.demo.run import run_demo


class DemoModel(StrEnum):
    """The model servers that the demo can start."""

    GEMMA = "gemma"
    ECHO = "echo"


def demo(
    model: Annotated[
        DemoModel,
        typer.Option(envvar="JANUA_DEMO_MODEL", help="gemma: a real, small model. echo: for machines without room."),
    ] = DemoModel.GEMMA,
    once: Annotated[bool, typer.Option("--once", envvar="JANUA_ONCE", help="End after the answers.")] = False,
    http: Annotated[
        str, typer.Option(envvar="JANUA_HTTP", metavar="HOST:PORT", help="Gateway: inference over HTTP.")
    ] = "127.0.0.1:8080",
    grpc: Annotated[
        str, typer.Option(envvar="JANUA_GRPC", metavar="HOST:PORT", help="Gateway: inference over gRPC.")
    ] = "127.0.0.1:8081",
    admin: Annotated[
        str, typer.Option(envvar="JANUA_ADMIN", metavar="HOST:PORT", help="Gateway: health, metrics, dumps.")
    ] = "127.0.0.1:9901",
    listen: Annotated[
        str, typer.Option(envvar="JANUA_LISTEN", metavar="HOST:PORT", help="Config server; port 0 takes a free one.")
    ] = "127.0.0.1:18000",
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="JANUA_DATA_DIR", metavar="DIR", help="Keep the configuration. Default: nothing is kept."),
    ] = None,
) -> None:
    """Run everything with two local models behind it, ask once over HTTP and once over gRPC, and say what to try.

    Examples:

      janua demo
      janua demo --model echo --once
    """
    code = asyncio.run(
        run_demo(
            model=model.value,
            once=once,
            http=http,
            grpc=grpc,
            admin=admin,
            config_listen=listen,
            data_dir=data_dir,
            console=stdout(),
        )
    )
    raise typer.Exit(code)
