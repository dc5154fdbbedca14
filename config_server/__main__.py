"""The command `python -m config_server`, which `janua config-server` runs too."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
from janua_resources.durations import parse_duration, to_nanos
from janua_resources.sealing import SealingKeyError

from config_server.access.access_list import AccessError
from config_server.bootstrap import Ready, Settings, run
from config_server.encryption_keys import encryption_keys
from config_server.listen_address import ListenAddress, ListenError
from config_server.logging import configure_logging
from config_server.store.base import StoreError, StoreUnavailableError
from config_server.tls import TlsError, TlsFiles


class _Address(click.ParamType[ListenAddress]):
    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ListenAddress:
        if isinstance(value, ListenAddress):
            return value
        try:
            return ListenAddress.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Seconds(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = to_nanos(parse_duration(str(value))) / 1e9
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return seconds


# New objects between two collections. Streams make few reference cycles: this saves a sixth of the CPU of a push.
_GC_THRESHOLD = 20_000

_ADDRESS, _SECONDS, _PATH = _Address(), _Seconds(), click.Path(path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": "JANUA", "show_default": True, "max_content_width": 110})
@click.option("--listen", type=_ADDRESS, default="127.0.0.1:18000", show_envvar=True, help="Port 0 takes a free one.")
@click.option(
    "--store",
    metavar="URL",
    required=True,
    show_envvar=True,
    help="Keeps everything: sqlite:///PATH, or postgresql://USER@HOST/DATABASE.",
)
@click.option("--replica-id", show_default="host name", show_envvar=True, help="Names this server to nodes.")
@click.option("--drain-timeout", type=_SECONDS, default="10s", show_envvar=True, help="How long a stop may take.")
@click.option(
    "--encryption-key-file",
    type=_PATH,
    show_envvar=True,
    help="Keys that seal the values of secrets, one a line: the first seals, all open. Or JANUA_ENCRYPTION_KEY.",
)
@click.option(
    "--kept-revisions",
    type=click.IntRange(min=1),
    default=1000,
    show_envvar=True,
    help="How many of the newest revisions can be gone back to; who made older ones, and why, stays known.",
)
@click.option(
    "--console",
    type=_ADDRESS,
    show_envvar=True,
    help="A page for browsers, /metrics, /livez and /readyz over HTTP, such as 127.0.0.1:18001. Default: none.",
)
@click.option("--tls-cert", type=_PATH, show_envvar=True, help="Serve TLS with this certificate chain (PEM).")
@click.option(
    "--tls-key", type=_PATH, show_envvar=True, help="Its private key (PEM). Files that change are read again."
)
@click.option(
    "--tls-client-ca", type=_PATH, show_envvar=True, help="Take only clients with a certificate of these authorities."
)
@click.option(
    "--access-file",
    type=_PATH,
    show_envvar=True,
    help="Who may do what, see `janua access`. It is read again when it changes.",
)
@click.option(
    "--insecure-allow-remote",
    is_flag=True,
    show_envvar=True,
    help="Listen off loopback without TLS or --access-file: all who can connect may then read and change everything.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_envvar=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_envvar=True)
def command(
    listen: ListenAddress,
    console: ListenAddress | None,
    store: str,
    replica_id: str | None,
    drain_timeout: float,
    encryption_key_file: Path | None,
    kept_revisions: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    access_file: Path | None,
    insecure_allow_remote: bool,
    log_level: str,
    log_format: Literal["text", "json"],
) -> None:
    """Run a config server: keep the configuration, check it, stream it to gateway nodes.

    When the server is ready it prints one line of JSON with its address. SIGTERM drains it.
    """
    tls = _tls(tls_cert, tls_key, tls_client_ca, access_file)
    if not listen.is_loopback and not insecure_allow_remote and (tls is None or access_file is None):
        missing = "--tls-cert and --tls-key" if tls is None else "--access-file"
        raise click.UsageError(
            f"{listen} can be reached from other machines: give {missing}, listen on 127.0.0.1, or accept that all "
            "who can connect may read and change everything with --insecure-allow-remote"
        )
    if console is not None and not console.is_loopback and not insecure_allow_remote:
        raise click.UsageError(
            f"--console {console} can be reached from other machines and speaks no TLS: listen on 127.0.0.1 behind a "
            "proxy that does, or accept that with --insecure-allow-remote"
        )
    configure_logging(log_level, log_format)
    settings = Settings(
        listen=listen,
        console=console,
        store=store,
        replica_id=replica_id or socket.gethostname(),
        drain_timeout_s=drain_timeout,
        kept_revisions=kept_revisions,
        tls=tls,
        access_file=access_file,
        encryption_keys=encryption_keys(encryption_key_file, os.environ.get("JANUA_ENCRYPTION_KEY", "")),
    )
    # What the imports made stays; looking through it for garbage again and again would delay pushes.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    asyncio.run(_serve(settings))


def _tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None, access_file: Path | None
) -> TlsFiles | None:
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together")
    if client_ca is not None and access_file is None:
        raise click.UsageError(
            "--tls-client-ca lets in all whom its authorities know: give --access-file, which says who"
        )
    if certificate is None or key is None:
        if client_ca is not None:
            raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    return TlsFiles(certificate=certificate, key=key, client_ca=client_ca)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, on_ready=_print_ready, stopped=stop.wait)


def _print_ready(ready: Ready) -> None:
    line = {
        "event": "ready",
        "component": "config-server",
        "grpc": str(ready.grpc),
        **({} if ready.console is None else {"console": str(ready.console)}),
        "store": ready.store,
        "revision": ready.revision,
    }
    click.echo(json.dumps(line))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        command.main(arguments, prog_name="config-server", standalone_mode=False)
    except click.UsageError as error:
        return _failed(f"{error.format_message()} (see --help)", 2)
    except (StoreError, StoreUnavailableError, ListenError, SealingKeyError, TlsError, AccessError) as error:
        return _failed(str(error), 1)
    return 0


def _failed(message: str, code: int) -> int:
    click.echo(f"janua config-server: {message}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
