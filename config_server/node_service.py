"""`janua.config.v1.NodeService`: what nodes report beside their discovery stream."""

# ruff: noqa: N802 (methods of servicers are named as in the .proto)

from typing import Final

from google.rpc import code_pb2
from janua.config.v1 import node_service_pb2 as pb
from janua.config.v1 import node_service_pb2_grpc

from config_server import rpc
from config_server.access.caller import check_node_id
from config_server.errors import ApiError
from config_server.fleet.departures import Departures
from config_server.nodes import NodeRegistry
from config_server.request_rules import check_request

# Of one node: it is kept in memory, and listed together with those of all other nodes.
MAX_STATUS_BYTES: Final = 256 * 1024


class NodeService(node_service_pb2_grpc.NodeServiceServicer):
    def __init__(self, nodes: NodeRegistry, departures: Departures) -> None:
        self._nodes = nodes
        self._departures = departures

    @rpc.answers_once
    async def ReportStatus(self, request: pb.ReportStatusRequest, context: rpc.Context) -> pb.ReportStatusResponse:
        check_request(request)
        check_node_id(request.node_id)
        if request.status.ByteSize() > MAX_STATUS_BYTES:
            text = f"a status has at most {MAX_STATUS_BYTES} bytes, not {request.status.ByteSize()}"
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "STATUS_TOO_LARGE", text)
        if not self._nodes.report(request.node_id, request.status):
            text = f"node {request.node_id!r} is not known: open a discovery stream first"
            raise ApiError(code_pb2.NOT_FOUND, "NODE_NOT_FOUND", text)
        if request.status.draining:
            # The node may stop taking requests when it has the answer.
            await self._departures.left(request.node_id)
        return pb.ReportStatusResponse()
