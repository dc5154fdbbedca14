"""The command `up`: a config server and a gateway on this machine, with files applied, and applied again on change."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from janua_client.cli.local_planes import Listen, LocalPlanes
from janua_client.cli.options import duration_seconds
from janua_client.cli.up_run import Up, UpOptions


class LogLevel(StrEnum):
    """How much is told."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """The form of a line."""

    TEXT = "text"
    JSON = "json"


class HttpServer(StrEnum):
    """What speaks HTTP."""

    HYPERCORN = "hypercorn"
    GRANIAN = "granian"


class ClientCertificates(StrEnum):
    """Where clients must have certificates."""

    NONE = "none"
    GRPC = "grpc"
    ALL = "all"


def up(
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", envvar="JANUA_FILE", metavar="FILE|DIR|-", help="What to apply. May be given several times."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", envvar="JANUA_WATCH", help="Apply again when a file changes.")
    ] = False,
    data_dir: Annotated[
        Path, typer.Option(envvar="JANUA_DATA_DIR", metavar="DIR", help="Where the configuration is kept.")
    ] = Path(".janua"),
    listen: Annotated[
        str, typer.Option(envvar="JANUA_LISTEN", metavar="HOST:PORT", help="Config server; port 0 takes a free one.")
    ] = "127.0.0.1:18000",
    http: Annotated[
        str, typer.Option(envvar="JANUA_HTTP", metavar="HOST:PORT", help="Gateway: inference over HTTP.")
    ] = "127.0.0.1:8080",
    grpc: Annotated[
        str, typer.Option(envvar="JANUA_GRPC", metavar="HOST:PORT", help="Gateway: inference over gRPC.")
    ] = "127.0.0.1:8081",
    advertise_grpc: Annotated[
        str,
        typer.Option(
            envvar="JANUA_ADVERTISE_GRPC",
            metavar="IP:PORT",
            help="Gateway: where clients of xds:///janua reach --grpc.",
        ),
    ] = "",
    admin: Annotated[
        str, typer.Option(envvar="JANUA_ADMIN", metavar="HOST:PORT", help="Gateway: health, metrics, dumps.")
    ] = "127.0.0.1:9901",
    tls_cert: Annotated[
        Path | None,
        typer.Option(envvar="JANUA_TLS_CERT", metavar="FILE", help="Gateway: secures --http and --grpc, PEM."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="JANUA_TLS_KEY", metavar="FILE", help="Gateway: the certificate's key, PEM.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="JANUA_TLS_CLIENT_CA", metavar="FILE", help="Gateway: asks clients for certificates of this CA, PEM."
        ),
    ] = None,
    tls_require_client_cert: Annotated[
        ClientCertificates,
        typer.Option(envvar="JANUA_TLS_REQUIRE_CLIENT_CERT", help="Gateway: where nobody without one is served."),
    ] = ClientCertificates.NONE,
    encryption_key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="JANUA_ENCRYPTION_KEY_FILE",
            metavar="FILE",
            help="Keys that seal the values of secrets. Default: JANUA_ENCRYPTION_KEY, or one made in --data-dir.",
        ),
    ] = None,
    secrets_env_prefix: Annotated[
        list[str] | None,
        typer.Option(
            envvar="JANUA_SECRETS_ENV_PREFIX",
            metavar="PREFIX",
            help="How variables that secrets name must begin; may be repeated.",
        ),
    ] = None,
    secrets_dir: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="JANUA_SECRETS_DIR", metavar="DIR", help="Where files that secrets name must be; may be repeated."
        ),
    ] = None,
    node_id: Annotated[
        str, typer.Option(envvar="JANUA_NODE_ID", metavar="ID", help="The node's id. Default: made once and kept.")
    ] = "",
    node_cluster: Annotated[
        str, typer.Option(envvar="JANUA_NODE_CLUSTER", metavar="NAME", help="The group the node belongs to.")
    ] = "default",
    drain_timeout: Annotated[
        str, typer.Option(envvar="JANUA_DRAIN_TIMEOUT", metavar="DURATION", help="How long a stop waits for requests.")
    ] = "30s",
    access_log: Annotated[
        str, typer.Option(envvar="JANUA_ACCESS_LOG", metavar="PATH|-|off", help="A line per request; - is stderr.")
    ] = "-",
    max_body_bytes: Annotated[int, typer.Option(envvar="JANUA_MAX_BODY_BYTES", min=1024, help="Largest request.")] = 32
    * 1024
    * 1024,
    shared_store: Annotated[
        str,
        typer.Option(
            envvar="JANUA_SHARED_STORE",
            metavar="redis://HOST:PORT",
            help="Redis or Valkey for what nodes share: limits of scope CLUSTER and budgets.",
        ),
    ] = "",
    cache_bytes: Annotated[
        int, typer.Option(envvar="JANUA_CACHE_BYTES", min=1024 * 1024, help="Memory for kept answers.")
    ] = 64 * 1024 * 1024,
    server: Annotated[
        HttpServer, typer.Option(envvar="JANUA_HTTP_SERVER", help="Gateway: what speaks HTTP on --http.")
    ] = HttpServer.HYPERCORN,
    workers: Annotated[
        int, typer.Option(envvar="JANUA_WORKERS", min=1, help="Gateway processes that share the ports, each a core.")
    ] = 1,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="JANUA_LOG_LEVEL", help="What both processes tell on stderr.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat, typer.Option(envvar="JANUA_LOG_FORMAT", help="How they tell it.")
    ] = LogFormat.TEXT,
    insecure_allow_remote: Annotated[
        bool,
        typer.Option(
            "--insecure-allow-remote",
            envvar="JANUA_INSECURE_ALLOW_REMOTE",
            help="Let --listen be off loopback, although everybody may then change everything.",
        ),
    ] = False,
) -> None:
    """Run everything on this machine: a config server with SQLite and a gateway node, and apply files.

    What left the files since the last time is deleted, whatever was applied by
    other means stays. With --watch an edit that is not right is reported, and the
    configuration stays as it is; SIGHUP has files and secrets read again. Ctrl-C
    lets running requests finish; a second one does not.

    Examples:

      janua up -f janua.yaml --watch
      janua up -f config/ --http 0.0.0.0:8080 --data-dir /var/lib/janua
    """
    options = UpOptions(files=tuple(file or ()), watch=watch, has_tls=tls_cert is not None)
    options.check()
    drain_seconds = duration_seconds("--drain-timeout", drain_timeout)
    logging = ("--log-level", log_level.value, "--log-format", log_format.value)
    tls = {"--tls-cert": tls_cert, "--tls-key": tls_key, "--tls-client-ca": tls_client_ca}
    planes = LocalPlanes(
        Listen(config_server=listen, http=http, grpc=grpc, admin=admin),
        data_dir,
        config_server_options=(*logging, *(["--insecure-allow-remote"] if insecure_allow_remote else ())),
        gateway_options=(
            *(*logging, "--access-log", access_log, "--max-body-bytes", str(max_body_bytes)),
            *("--cache-bytes", str(cache_bytes), "--server", server.value, "--workers", str(workers)),
            *(word for prefix in secrets_env_prefix or () for word in ("--secrets-env-prefix", prefix)),
            *(word for directory in secrets_dir or () for word in ("--secrets-dir", str(directory))),
            *("--node-id", node_id, "--node-cluster", node_cluster, "--drain-timeout", f"{drain_seconds:g}s"),
            *(["--advertise-grpc", advertise_grpc] if advertise_grpc else ()),
            *(word for option, path in tls.items() if path is not None for word in (option, str(path))),
            *("--tls-require-client-cert", tls_require_client_cert.value),
        ),
        drain_timeout=drain_seconds,
        gateway_environment={"JANUA_SHARED_STORE": shared_store},
        encryption_key_file=encryption_key_file,
    )
    asyncio.run(Up(options, planes).run())
