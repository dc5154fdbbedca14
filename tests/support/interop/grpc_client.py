"""A client of gRPC that dials `xds:///janua`. A line of JSON in for each thing to do, and one out with what came of it.

Run in the environment for interop, with GRPC_XDS_BOOTSTRAP_CONFIG set.
"""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc_csds
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3 import listener_pb2  # noqa: F401  # for what the status packs
from envoy.service.status.v3 import csds_pb2
from janua.inference.v1 import chat_pb2, inference_service_pb2_grpc

_TIMEOUT_S = 20.0
_PAUSE_S = 0.05
_SHOWN_ERRORS = 5


class Client:
    """Calls over one channel."""

    def __init__(self, key: str) -> None:
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._stub = inference_service_pb2_grpc.InferenceServiceStub(grpc.insecure_channel("xds:///janua"))
        self._status = grpc_csds.ClientStatusDiscoveryServiceServicer()
        self._results: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._is_stopped = threading.Event()
        self._workers: list[threading.Thread] = []

    def call(self, count: int) -> Mapping[str, Any]:
        """Makes so many calls, one after the other."""
        for _ in range(count):
            self._call_once()
        return self._report()

    def start(self, workers: int) -> Mapping[str, Any]:
        """Makes calls without end, so many at a time."""
        self._is_stopped.clear()
        self._workers = [threading.Thread(target=self._call_until_stopped) for _ in range(workers)]
        for worker in self._workers:
            worker.start()
        return {}

    def stop(self) -> Mapping[str, Any]:
        self._is_stopped.set()
        for worker in self._workers:
            worker.join()
        return self._report()

    def status(self) -> Mapping[str, Any]:
        """What the client says of its own resources, by type."""
        response = self._status.FetchClientStatus(csds_pb2.ClientStatusRequest(), None)
        resources = {}
        endpoints = []
        for config in response.config[0].generic_xds_configs:
            kind = config.type_url.rpartition(".")[2]
            name = csds_pb2.DESCRIPTOR.pool.FindEnumTypeByName("envoy.admin.v3.ClientResourceStatus")
            resources[kind] = [config.name, name.values_by_number[config.client_status].name]
            assignment = ClusterLoadAssignment()
            if config.xds_config.Unpack(assignment):
                endpoints = [
                    f"{each.endpoint.address.socket_address.address}:{each.endpoint.address.socket_address.port_value}"
                    for locality in assignment.endpoints
                    for each in locality.lb_endpoints
                ]
        return {"resources": resources, "endpoints": sorted(endpoints)}

    def _call_until_stopped(self) -> None:
        while not self._is_stopped.wait(_PAUSE_S):
            self._call_once()

    def _call_once(self) -> None:
        message = chat_pb2.Message(
            role=chat_pb2.Message.ROLE_USER, content=[chat_pb2.ContentPart(text="one two three")]
        )
        request = chat_pb2.ChatCompletionRequest(model="echo", messages=[message])
        try:
            pieces = self._stub.StreamChatCompletion(
                chat_pb2.StreamChatCompletionRequest(request=request), metadata=self._metadata, timeout=_TIMEOUT_S
            )
            text = "".join(choice.content for piece in pieces for choice in piece.choices)
            result = "ok" if "one two three" in text else f"incomplete: {text}"
        except grpc.RpcError as error:
            result = f"{error.code().name}: {error.details()}"
        with self._lock:
            self._results[result] += 1

    def _report(self) -> Mapping[str, Any]:
        with self._lock:
            results, self._results = self._results, Counter()
        return {"ok": results.pop("ok", 0), "errors": dict(results.most_common(_SHOWN_ERRORS))}


def main() -> None:
    client = Client(sys.argv[1])
    actions: Mapping[str, Callable[..., Mapping[str, Any]]] = {
        "call": client.call,
        "start": client.start,
        "stop": client.stop,
        "status": client.status,
    }
    for line in sys.stdin:
        asked = json.loads(line)
        result = actions[asked.pop("do")](**asked)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
