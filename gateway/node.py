"""A gateway node: the one place where its parts are made and joined."""

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import structlog
from janua_resources.sealing import Sealer

from gateway.bootstrap import ConfigFileError, NodeSettings
from gateway.compile.config_dump import dump_resources
from gateway.compile.node_config import ConfigListener, NodeConfig
from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.compile.secret_places import SecretPlaces
from gateway.config.last_good import LastGood, LastGoodStore
from gateway.config.last_good_writer import LastGoodWriter
from gateway.config.resources import CredentialReport, ListenerAddresses, NodeIdentity, NodeStatusReport
from gateway.config.snapshot import Snapshot
from gateway.config.status_reporter import StatusReporter
from gateway.config.subscriber import Subscriber
from gateway.filters.limits.state import LimitState
from gateway.filters.published_keys import KeyDirectory, KeyFetcher
from gateway.listeners.admin import NodeView, make_admin_app
from gateway.listeners.grpc import InferenceServicer
from gateway.listeners.grpc_proxy import GrpcProxyHandler
from gateway.listeners.grpc_server import GrpcServer
from gateway.listeners.http import make_http_app
from gateway.listeners.http_server import serve_requests
from gateway.listeners.hypercorn import bind, serve_http
from gateway.listeners.open_inference_grpc import OpenInferenceServicer
from gateway.listeners.server_tls import ServerTls
from gateway.listeners.service import GatewayService
from gateway.mirror import Mirrors
from gateway.pipeline import LiveState, Pipeline
from gateway.response_cache.response_cache import ResponseCache
from gateway.shared_store import SharedStore
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.upstream_collector import UpstreamCollector
from gateway.upstream.call import Caller
from gateway.upstream.cluster_manager import ClusterManager

# The admin listener outlives the others while a node drains, but not for long.
_ADMIN_DRAIN_S = 1.0
_READY_REPORT_TIMEOUT_S = 1.0
_FLUSH_TIMEOUT_S = 2.0
# Requests make few reference cycles: collecting after so many new objects, not after 700, saves a few per cent of CPU.
# A large configuration makes many that stay: looking through 20,000 of them would hold up requests for 7 ms.
_GC_THRESHOLDS = 5_000, 80, 50

_log = structlog.get_logger("janua.node")


class Node:
    """One node, from its settings. `run` serves until the process is told to stop."""

    def __init__(self, settings: NodeSettings, *, access_log_output: BinaryIO | None) -> None:
        self._settings = settings
        self._tls = ServerTls(settings.tls) if settings.tls is not None else None
        self._metrics = Metrics()
        self._access_log = AccessLog(access_log_output)
        self._clusters = ClusterManager(random=Random(), on_health_change=self._poke_reporter)  # noqa: S311
        caller = Caller(metrics=self._metrics, random=Random())  # noqa: S311  # for spreading load, not for secrets
        self._mirrors = Mirrors()
        self._store = self._shared_store()
        self._limits = LimitState(metrics=self._metrics, store=self._store, state_dir=settings.state_dir)
        self._published_keys = KeyDirectory(KeyFetcher(), time.monotonic)
        self._answers = ResponseCache(max_bytes=settings.cache_bytes, shared=self._shared_store())
        self._live = LiveState(self._clusters, caller, self._mirrors, self._limits, self._published_keys, self._answers)
        self._service = GatewayService(
            metrics=self._metrics, access_log=self._access_log, on_failure=self._poke_reporter
        )
        servicer = InferenceServicer(self._service, created=int(time.time()))
        proxy = GrpcProxyHandler(self._service)
        open_inference = OpenInferenceServicer(self._service)
        self._grpc_server = GrpcServer(
            servicer,
            open_inference,
            proxy,
            max_message_bytes=settings.max_body_bytes,
            is_port_shared=settings.is_worker,
        )
        listener = ConfigListener(
            prepare=self._live.prepare,
            on_snapshot=self._on_snapshot,
            on_secret_names=self._on_secret_names,
            on_recovered=self._on_recovered,
        )
        secrets = SecretReader(
            places=SecretPlaces(env_prefixes=settings.secrets_env_prefixes, directories=settings.secrets_dirs)
        )
        table = ResourceTable(
            secrets,
            has_shared_store=self._store is not None,
            has_client_ca=settings.tls is not None and settings.tls.client_ca is not None,
        )
        self._config = NodeConfig(table, listener)
        self._addresses = self._advertised = ListenerAddresses()
        self._is_draining = False
        self._stop = asyncio.Event()
        self._stop_accepting = asyncio.Event()
        self._last_good: LastGoodWriter | None = None
        self._subscriber: Subscriber | None = None
        self._reporter: StatusReporter | None = None
        self._identity = NodeIdentity(id=settings.node_id, cluster=settings.node_cluster, version=version("janua"))
        self._metrics.registry.register(
            UpstreamCollector(self._clusters.report, self._clusters.report_breakers, self._clusters.report_credentials)
        )
        self._metrics.xds_connected.set_function(lambda: float(self._is_connected))
        self._metrics.cache_bytes.set_function(lambda: self._answers.size_bytes)
        self._metrics.cache_entries.set_function(lambda: self._answers.entries)
        self._metrics.config_revision.set_function(lambda: self._config.revision)
        self._metrics.config_rejected.set_function(lambda: self._config.table.rejected_count)

    def _shared_store(self) -> SharedStore | None:
        """A client of the store. Limits and answers have one each: a large answer that takes too long must not have
        limits go without the store for a while."""
        address = self._settings.shared_store
        return SharedStore(address, on_failure=self._metrics.store_failure) if address else None

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then drains. Raises `ListenError`, `ConfigFileError` or OSError at start."""
        settings, tls = self._settings, self._tls
        http = bind(settings.http.host, settings.http.port, shared=settings.is_worker)
        admin = bind(settings.admin.host, settings.admin.port)
        credentials = tls.grpc_credentials() if tls is not None else None
        grpc_port = self._grpc_server.bind(settings.grpc.host, settings.grpc.port, credentials)
        self._addresses = ListenerAddresses(
            http=_authority(settings.http.host, http.getsockname()[1]),
            grpc=_authority(settings.grpc.host, grpc_port),
            admin=_authority(settings.admin.host, admin.getsockname()[1]),
        )
        self._advertised = replace(self._addresses, grpc=self._advertised_grpc(grpc_port))
        self._load_config()
        stop_admin = asyncio.Event()
        http_app = make_http_app(self._service, max_body_bytes=settings.max_body_bytes)
        async with asyncio.TaskGroup() as servers, asyncio.TaskGroup() as background:
            tasks = [
                background.create_task(self._clusters.run()),
                background.create_task(self._mirrors.run()),
                background.create_task(self._published_keys.run()),
                background.create_task(self._answers.run()),
                background.create_task(self._access_log.run()),
                background.create_task(self._limits.run()),
                *([background.create_task(tls.run())] if tls is not None else ()),
                *self._start_subscription(background),
            ]
            servers.create_task(serve_http(make_admin_app(self._view()), admin, stop_admin, _ADMIN_DRAIN_S))
            await self._grpc_server.start()
            serving = servers.create_task(
                serve_requests(
                    settings.server,
                    http_app,
                    http,
                    self._stop_accepting,
                    settings.drain_timeout_s,
                    max_message_bytes=settings.max_body_bytes,
                    tls=tls.context if tls is not None else None,
                )
            )
            self._handle_signals()
            ready = background.create_task(self._announce_when_ready())
            await self._stop.wait()
            ready.cancel()
            await self._drain(serving)
            await self._limits.flush(_FLUSH_TIMEOUT_S)
            stop_admin.set()
            for task in tasks:
                task.cancel()
        await self._live.judges.close()

    def _advertised_grpc(self, port: int) -> str:
        address = self._settings.advertise_grpc
        return self._addresses.grpc if address is None else _authority(address.host, address.port or port)

    def _load_config(self) -> None:
        """Takes the configuration that is there without a server: the file, or what the disk kept."""
        if self._settings.config_file is not None:
            self._load_config_file(self._settings.config_file)
            return
        store = LastGoodStore(self._settings.state_dir, Sealer(self._settings.state_keys))
        self._last_good = LastGoodWriter(store)
        if (last_good := store.load()) is not None:
            self._config.load(last_good.epoch, last_good.revision, last_good.resources)
            _log.info("serving the last good configuration from disk", revision=last_good.revision)

    def _load_config_file(self, path: Path) -> None:
        # A node that is fed over discovery needs neither a YAML reader nor protovalidate.
        from gateway.compile.config_file import load_config_file

        load_config_file(path, self._config)

    def _start_subscription(self, background: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        if not self._settings.config_servers or self._last_good is None:
            return []
        settings = self._settings
        self._subscriber = Subscriber(
            settings.config_servers, self._identity, self._config, credentials=settings.config_server_credentials
        )
        self._reporter = StatusReporter(self._identity.id, self._subscriber, self._report)
        return [
            background.create_task(self._subscriber.run()),
            background.create_task(self._reporter.run()),
            background.create_task(self._last_good.run()),
        ]

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if self._settings.is_worker:
            loop.add_reader(sys.stdin.fileno(), self._on_parent_gone)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _on_parent_gone(self) -> None:
        """The pipe from the parent, which never writes, has ended."""
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._stop.set()

    def _reload(self) -> None:
        """Reads files again: certificates, secrets, and the configuration file if there is one."""
        if self._tls is not None:
            self._tls.reload()
        self._config.retry_secrets()
        if self._settings.config_file is not None:
            try:
                self._load_config_file(self._settings.config_file)
            except ConfigFileError as error:
                _log.error("configuration file not taken, going on as before", error=str(error))

    async def _announce_when_ready(self) -> None:
        await self._config.wait_until_started()
        self._grpc_server.set_serving(serving=not self._is_draining)
        if self._reporter is not None:
            # By the time that it says it is ready, clients of discovery hear of it.
            await self._reporter.report_now(_READY_REPORT_TIMEOUT_S)
        line = {
            "event": "ready",
            "component": "gateway",
            "node_id": self._identity.id,
            "http": self._addresses.http,
            "grpc": self._addresses.grpc,
            "admin": self._addresses.admin,
            "revision": self._config.revision,
            **({"tls": True} if self._tls is not None else {}),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def _drain(self, serving: asyncio.Task[None]) -> None:
        timeout_s = self._settings.drain_timeout_s
        self._begin_draining()
        _log.info("draining", active_requests=self._service.active_requests, timeout_s=timeout_s)
        if self._reporter is not None:
            await self._reporter.leave()
        self._stop_accepting.set()
        await asyncio.gather(self._grpc_server.drain(timeout_s), serving)
        _log.info("drained", active_requests=self._service.active_requests)

    def _begin_draining(self) -> dict[str, Any]:
        if not self._is_draining:
            self._is_draining = True
            self._service.is_draining = True
            self._grpc_server.set_serving(serving=False)
            if self._reporter is not None:
                self._reporter.poke()
        return {"draining": True, "active_requests": self._service.active_requests}

    def _view(self) -> NodeView:
        return NodeView(
            not_ready=self._not_ready,
            config_dump=self._dump,
            endpoints=self._describe_endpoints,
            drain=self._begin_draining,
            purge_cache=self._answers.purge,
            metrics=self._metrics,
        )

    def _describe_endpoints(self) -> list[dict[str, Any]]:
        credentials: dict[str, list[dict[str, Any]]] = {}
        for each in self._clusters.report_credentials():
            credentials.setdefault(each.upstream, []).append(_describe_credential(each))
        return [
            {
                "upstream": endpoint.upstream,
                "address": endpoint.address,
                "healthy": endpoint.healthy,
                "reason": endpoint.reason,
                "since": endpoint.since.isoformat(timespec="milliseconds"),
                "state": endpoint.state.name,
                "priority": endpoint.priority,
                "active_requests": endpoint.active_requests,
                "latency_ms": None if endpoint.latency_s is None else round(endpoint.latency_s * 1000, 3),
                "ejections": endpoint.ejections,
                "ejected_until": endpoint.ejected_until.isoformat(timespec="milliseconds")
                if endpoint.ejected_until
                else None,
                **({"credentials": credentials[endpoint.upstream]} if endpoint.upstream in credentials else {}),
            }
            for endpoint in self._clusters.report()
        ]

    def _not_ready(self) -> str | None:
        if self._is_draining:
            return "draining"
        return None if self._config.is_started else "waiting for the first configuration"

    @property
    def _is_connected(self) -> bool:
        return self._subscriber is not None and self._subscriber.status.is_connected

    def _dump(self) -> dict[str, Any]:
        status = self._subscriber.status if self._subscriber is not None else None
        return {
            "node": {"id": self._identity.id, "cluster": self._identity.cluster, "version": self._identity.version},
            "epoch": self._config.epoch,
            "revision": self._config.revision,
            "config_server": status.server if status else None,
            "last_error": status.last_error if status else None,
            **dump_resources(self._config.table),
        }

    def _report(self) -> NodeStatusReport:
        return NodeStatusReport(
            addresses=self._advertised,
            ready=self._config.is_started,
            draining=self._is_draining,
            active_requests=self._service.active_requests,
            requests=self._service.failures.requests,
            failed_requests=self._service.failures.failed,
            endpoints=self._clusters.report(),
        )

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        # No request runs in between: each takes its cluster in the same step in which it takes its pipeline.
        self._live.reconcile(snapshot)
        self._service.pipeline = Pipeline(snapshot, self._live, self._service.pipeline)
        _log.info("configuration in use", revision=self._config.revision, routes=len(snapshot.routes))
        if self._last_good is not None:
            self._last_good.submit(LastGood(self._config.epoch, self._config.revision, self._config.table.resources()))
        if self._reporter is not None:
            self._reporter.poke()

    def _on_secret_names(self) -> None:
        if self._subscriber is not None:
            self._subscriber.refresh_secret_names()

    def _on_recovered(self, type_url: str, names: Collection[str]) -> None:
        if self._subscriber is not None:
            self._subscriber.recover(type_url, names)

    def _poke_reporter(self) -> None:
        if self._reporter is not None:
            self._reporter.poke()


def _describe_credential(report: CredentialReport) -> dict[str, Any]:
    return {
        "secret": report.secret,
        "weight": report.weight,
        "fresh": report.is_fresh,
        "reason": report.reason,
        "fresh_at": report.fresh_at.isoformat(timespec="milliseconds") if report.fresh_at else None,
        "refusals": report.refusals,
    }


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def run_node(settings: NodeSettings) -> None:
    """Runs a node with these settings, alone in its process, until it is told to stop."""
    # What the imports made stays; looking through it for garbage again and again is wasted time.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    with AccessLogOutput(settings.access_log) as output:
        await Node(settings, access_log_output=output).run()


class AccessLogOutput:
    """Opens what the access log is written to: a file, standard error, or nothing."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO | None:
        match self._target:
            case "off":
                return None
            case "-":
                return sys.stderr.buffer
            case path:
                self._file = Path(path).open("ab")
                return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
