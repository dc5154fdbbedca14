"""A real Envoy as a discovery client, with a listener whose routes and cluster come from the config server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from tests.support.components import find_program
from tests.support.polling import eventually

_ADS = {"resource_api_version": "V3", "ads": {}}


@dataclass(frozen=True, slots=True)
class Envoy:
    """One that runs."""

    session: aiohttp.ClientSession

    async def stats(self) -> Mapping[str, int]:
        async with self.session.get("http://envoy/stats?format=json") as response:
            stats = (await response.json(content_type=None))["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}

    async def address(self) -> str:
        """Where it listens for gRPC."""
        async with self.session.get("http://envoy/listeners?format=json") as response:
            listeners = await response.json(content_type=None)
        socket = listeners["listener_statuses"][0]["local_address"]["socket_address"]
        return f"{socket['address']}:{socket['port_value']}"

    async def dynamic(self, kind: str) -> list[Mapping[str, Any]]:
        """What came by discovery, from `/config_dump`: `cluster`, `route_config` or `endpoint_config`."""
        async with self.session.get("http://envoy/config_dump?include_eds") as response:
            dump = await response.json(content_type=None)
        return [
            entry[kind]
            for part in dump["configs"]
            for field in ("dynamic_active_clusters", "dynamic_route_configs", "dynamic_endpoint_configs")
            for entry in part.get(field, ())
            if kind in entry
        ]

    async def endpoints(self) -> list[str]:
        """Where Envoy thinks that the nodes are."""
        return sorted(
            f"{socket['address']}:{socket['port_value']}"
            for assignment in await self.dynamic("endpoint_config")
            if assignment["cluster_name"] == "janua"
            for locality in assignment.get("endpoints", ())
            for endpoint in locality["lb_endpoints"]
            for socket in [endpoint["endpoint"]["address"]["socket_address"]]
        )


@asynccontextmanager
async def running_envoy(server: str, *, api_type: str, folder: Path) -> AsyncIterator[Envoy]:
    """Runs an Envoy that follows the config server at `server`; `api_type` is `GRPC` or `DELTA_GRPC`."""
    program = find_program("envoy")
    assert program is not None
    # A socket's path may have about a hundred characters; pytest's directories are longer.
    with TemporaryDirectory(prefix="janua-envoy-") as short:
        admin = Path(short) / "admin"
        config = folder / "envoy.json"
        config.write_text(json.dumps(_bootstrap(server, api_type, admin)))
        process = await asyncio.create_subprocess_exec(
            *(program, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            connector = aiohttp.UnixConnector(path=str(admin))
            async with aiohttp.ClientSession(connector=connector) as session:
                envoy = Envoy(session)
                await eventually(lambda: _is_initialized(envoy))
                yield envoy
        finally:
            process.terminate()
            await process.wait()


async def _is_initialized(envoy: Envoy) -> bool:
    try:
        stats = await envoy.stats()
    except aiohttp.ClientError:
        return False
    return stats.get("server.state") == 0


def _bootstrap(server: str, api_type: str, admin_path: Path) -> dict[str, Any]:
    host, port = server.rsplit(":", 1)
    return {
        "node": {"id": "an-envoy", "cluster": "envoys"},
        "admin": {"address": {"pipe": {"path": str(admin_path)}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "config_server"}}],
            },
            "lds_config": _ADS,
            "cds_config": _ADS,
        },
        "static_resources": {
            "listeners": [_listener()],
            "clusters": [
                {
                    "name": "config_server",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "config_server",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(host, int(port))}}]}],
                    },
                }
            ],
        },
    }


def _listener() -> dict[str, Any]:
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "grpc",
        "rds": {"config_source": _ADS, "route_config_name": "janua"},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": "grpc", "address": _socket("127.0.0.1", 0), "filter_chains": [{"filters": [network_filter]}]}


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
