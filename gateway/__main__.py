"""The command `python -m gateway`, which `janua gateway` runs too."""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from typing import Literal

import click
import uvloop
from janua_resources.sealing import SealingKeyError, read_keys

from gateway.bootstrap import (
    ConfigFileError,
    HttpServer,
    ListenAddress,
    NodeSettings,
    RequiredOn,
    ServerCredentials,
    ServerCredentialsError,
    TlsFiles,
    TlsFilesError,
)
from gateway.config.node_id import load_or_make_node_id
from gateway.listeners.hypercorn import ListenError
from gateway.shared_store import StoreSettingError
from gateway.telemetry.logging import configure_logging
from gateway.workers.worker import WorkerFailedError


class _Address(click.ParamType[ListenAddress]):
    name = "HOST:PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ListenAddress:
        if isinstance(value, ListenAddress):
            return value
        try:
            return ListenAddress.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _DialledAddress(_Address):
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ListenAddress:
        address = super().convert(value, param, ctx)
        if not address.can_be_dialled:
            self.fail(f"'{address.host}' is not the IP address of one machine, which clients need", param, ctx)
        return address


class _Seconds(click.ParamType[float]):
    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value)
        try:
            return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
        except ValueError:
            self.fail(f"'{text}' is not a duration such as 30s or 500ms", param, ctx)


_ADDRESS, _DIALLED_ADDRESS, _SECONDS = _Address(), _DialledAddress(), _Seconds()
_PATH = click.Path(path_type=Path)


_FAILURES = (
    ConfigFileError,
    ListenError,
    SealingKeyError,
    ServerCredentialsError,
    StoreSettingError,
    TlsFilesError,
    WorkerFailedError,
)


@click.command(context_settings={"auto_envvar_prefix": "JANUA", "show_default": True, "max_content_width": 110})
@click.option("--config-server", metavar="HOST:PORT[,…]", help="Config servers, tried in turn.")
@click.option(
    "--config-server-tls", is_flag=True, help="Speak TLS with config servers, and trust what the system does."
)
@click.option("--config-server-ca", type=_PATH, help="Speak TLS with them, and trust these authorities (PEM) alone.")
@click.option("--config-server-cert", type=_PATH, help="Show them this certificate (PEM).")
@click.option("--config-server-key", type=_PATH, help="Its private key (PEM).")
@click.option("--config-server-token-file", type=_PATH, help="Show them the token in this file. Default: JANUA_TOKEN.")
@click.option("--config-file", type=_PATH, help="Serve this file instead of asking a server.")
@click.option("--http", type=_ADDRESS, default="127.0.0.1:8080", help="HTTP inference; port 0 takes a free one.")
@click.option("--grpc", type=_ADDRESS, default="127.0.0.1:8081", help="gRPC inference.")
@click.option(
    "--advertise-grpc",
    type=_DIALLED_ADDRESS,
    help="Where clients that dial xds:///janua reach --grpc; port 0 is its port. Default: where it listens.",
)
@click.option("--admin", type=_ADDRESS, default="127.0.0.1:9901", help="Health, metrics and dumps; keep it private.")
@click.option(
    "--tls-cert",
    type=_PATH,
    help="Secures --http and --grpc: the certificate and those between it and its CA, PEM.",
)
@click.option("--tls-key", type=_PATH, help="The certificate's private key, PEM.")
@click.option(
    "--tls-client-ca",
    type=_PATH,
    help="Asks clients for certificates that these CAs have signed, PEM.",
)
@click.option(
    "--tls-require-client-cert",
    type=click.Choice([each.value for each in RequiredOn]),
    default=RequiredOn.NONE.value,
    help="Where clients without one are not served. --grpc asks for them only so; --http asks always.",
)
@click.option("--node-id", default="", help="Unique in the fleet. Default: made once, kept in the state directory.")
@click.option("--node-cluster", default="default", help="The group this node belongs to.")
@click.option("--state-dir", type=_PATH, default=".janua/node", help="Node id and last good configuration.")
@click.option(
    "--secrets-env-prefix",
    multiple=True,
    metavar="PREFIX",
    help="How variables that secrets name must begin; may be repeated. Default: in any way but as JANUA_.",
)
@click.option(
    "--secrets-dir",
    type=_PATH,
    multiple=True,
    help="Where files that secrets name must be; may be repeated. Default: anywhere.",
)
@click.option("--drain-timeout", type=_SECONDS, default="30s", help="How long a stop waits for running requests.")
@click.option("--max-body-bytes", type=click.IntRange(min=1024), default=32 * 1024 * 1024, help="Largest request.")
@click.option(
    "--cache-bytes", type=click.IntRange(min=1024 * 1024), default=64 * 1024 * 1024, help="Memory for kept answers."
)
@click.option("--access-log", default="-", metavar="PATH|-|off", help="One JSON line per request; - is stderr.")
@click.option(
    "--shared-store",
    default="",
    metavar="redis://HOST:PORT",
    help="Redis or Valkey for what nodes share: limits of scope CLUSTER and budgets.",
)
@click.option(
    "--server",
    type=click.Choice([each.value for each in HttpServer]),
    default=HttpServer.HYPERCORN.value,
    envvar="JANUA_HTTP_SERVER",
    allow_from_autoenv=False,  # JANUA_SERVER says to `janua` where the config server is
    help="What speaks HTTP on --http; granian: faster, without TLS and WebSockets. Variable: JANUA_HTTP_SERVER.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=256),
    default=1,
    help="Node processes that share the ports, each a core.",
)
@click.option("--worker", is_flag=True, hidden=True, help="This process is one of them.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
def main(
    config_server: str | None,
    config_server_tls: bool,
    config_server_ca: Path | None,
    config_server_cert: Path | None,
    config_server_key: Path | None,
    config_server_token_file: Path | None,
    config_file: Path | None,
    http: ListenAddress,
    grpc: ListenAddress,
    advertise_grpc: ListenAddress | None,
    admin: ListenAddress,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    tls_require_client_cert: str,
    node_id: str,
    node_cluster: str,
    state_dir: Path,
    secrets_env_prefix: tuple[str, ...],
    secrets_dir: tuple[Path, ...],
    drain_timeout: float,
    max_body_bytes: int,
    cache_bytes: int,
    access_log: str,
    shared_store: str,
    server: str,
    workers: int,
    worker: bool,
    log_level: str,
    log_format: Literal["text", "json"],
) -> None:
    """Run a gateway node: inference over HTTP and gRPC under the configuration it is given.

    Either --config-server or --config-file says where the configuration comes from. Every option can be set as an
    environment variable, such as JANUA_HTTP. When the node is ready it prints one line of JSON with its addresses.
    SIGTERM drains it; SIGHUP reads the configuration file, secrets and certificates again. JANUA_STATE_KEY holds keys,
    base64 of 32 bytes each, that seal what the state directory has of the configuration: the first seals, all open.
    """
    if (config_server is None) == (config_file is None):
        raise click.UsageError("give either --config-server HOST:PORT or --config-file FILE")
    tls = _tls_files(tls_cert, tls_key, tls_client_ca, RequiredOn(tls_require_client_cert))
    http_server = HttpServer(server)
    if http_server is HttpServer.GRANIAN:
        _check_granian(tls)
    configure_logging(log_level, log_format)
    try:
        settings = NodeSettings(
            config_servers=tuple(server.strip() for server in (config_server or "").split(",") if server.strip()),
            config_file=config_file,
            http=http,
            grpc=grpc,
            admin=admin,
            node_id=node_id or load_or_make_node_id(state_dir),
            node_cluster=node_cluster,
            state_dir=state_dir,
            drain_timeout_s=drain_timeout,
            max_body_bytes=max_body_bytes,
            access_log=access_log,
            shared_store=shared_store,
            cache_bytes=cache_bytes,
            is_worker=worker,
            advertise_grpc=advertise_grpc,
            tls=tls,
            server=http_server,
            secrets_env_prefixes=secrets_env_prefix,
            secrets_dirs=secrets_dir,
            state_keys=read_keys(os.environ.get("JANUA_STATE_KEY", ""), "JANUA_STATE_KEY"),
            config_server_credentials=ServerCredentials(
                tls=config_server_tls,
                ca=config_server_ca,
                certificate=config_server_cert,
                key=config_server_key,
                token_file=config_server_token_file,
                token=os.environ.get("JANUA_TOKEN", ""),
            ),
        )
        settings.config_server_credentials.check(settings.config_servers)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, workers))
    except _FAILURES as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


async def _run(settings: NodeSettings, workers: int) -> None:
    if workers > 1:
        from gateway.workers.supervisor import Supervisor

        if settings.tls is not None:
            from gateway.listeners.server_tls import ServerTls

            ServerTls(settings.tls)  # what is wrong with the files is said once, not by each worker
        command = (sys.executable, "-P", "-m", "gateway", *sys.argv[1:])
        await Supervisor(settings, workers, command).run()
        return
    # The parent of workers serves nothing itself, and does without all this.
    from gateway.node import run_node

    await run_node(settings)


def _tls_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None, required_on: RequiredOn
) -> TlsFiles | None:
    """The files as they are named. Raises `click.UsageError` for combinations that make no sense."""
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key go together: give both")
    if client_ca is None and required_on is not RequiredOn.NONE:
        raise click.UsageError("--tls-require-client-cert needs to know whose certificates: give --tls-client-ca")
    if certificate is None or key is None:
        if client_ca is not None:
            raise click.UsageError("--tls-client-ca is for TLS: give --tls-cert and --tls-key too")
        return None
    return TlsFiles(certificate=certificate, key=key, client_ca=client_ca, required_on=required_on)


def _check_granian(tls: TlsFiles | None) -> None:
    """Raises `click.UsageError` where `--server granian` cannot be."""
    if tls is not None:
        raise click.UsageError("--server granian speaks no TLS: leave out --server, or the --tls options")
    if importlib.util.find_spec("granian") is None:
        raise click.UsageError("--server granian needs the package granian: pip install 'janua[granian]'")


def _fail(message: str) -> None:
    sys.stderr.write(f"janua gateway: {message}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
