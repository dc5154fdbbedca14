"""A real Envoy attached as a delta discovery client: it asks for types that Janua does not serve, and stays."""

import asyncio
import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.support.components import find_program
from tests.support.polling import eventually
from tests.support.processes import ConfigServer

pytestmark = pytest.mark.component("envoy")

_DELTA = {"resource_api_version": "V3", "ads": {}}


def _bootstrap(server: ConfigServer, admin_path: Path) -> dict[str, object]:
    host, port = server.address.rsplit(":", 1)
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return {
        "node": {"id": "an-envoy", "cluster": "envoys"},
        "admin": {"address": {"pipe": {"path": str(admin_path)}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "config_server"}}],
            },
            "lds_config": _DELTA,
            "cds_config": _DELTA,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "config_server",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {
                        "cluster_name": "config_server",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


async def _stats(session: aiohttp.ClientSession) -> dict[str, int]:
    async with session.get("http://envoy/stats?format=json") as response:
        stats = (await response.json(content_type=None))["stats"]
    return {stat["name"]: stat["value"] for stat in stats if "value" in stat}


async def test_envoy_gets_empty_answers_and_stays_connected(config_server: ConfigServer, tmp_path: Path) -> None:
    program = find_program("envoy")
    assert program is not None
    # A socket's path may have about a hundred characters; pytest's directories are longer.
    short = Path("/tmp") / f"janua-envoy-{config_server.pid}"
    short.mkdir()
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(_bootstrap(config_server, short / "admin")))
    envoy = await asyncio.create_subprocess_exec(
        *(program, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        connector = aiohttp.UnixConnector(path=str(short / "admin"))
        async with aiohttp.ClientSession(connector=connector) as session:

            async def has_answers() -> bool:
                try:
                    stats = await _stats(session)
                except aiohttp.ClientError:
                    return False
                updates = ("cluster_manager.cds.update_success", "listener_manager.lds.update_success")
                return all(stats.get(name, 0) >= 1 for name in updates)

            await eventually(has_answers)
            before = await _stats(session)
            await asyncio.sleep(1)  # long enough for a loop of answers and ACKs, or a reconnect, to show itself
            after = await _stats(session)
        for stat in ("cluster_manager.cds.update_success", "listener_manager.lds.update_success"):
            assert after[stat] == before[stat] == 1
        assert after["control_plane.connected_state"] == 1
        assert after.get("cluster_manager.cds.update_rejected", 0) == 0
        assert after.get("listener_manager.lds.update_rejected", 0) == 0
        assert after["cluster.config_server.upstream_cx_total"] == 1
    finally:
        envoy.terminate()
        await envoy.wait()
        shutil.rmtree(short)
