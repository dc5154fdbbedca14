"""NVIDIA's tritonclient as a program that prints JSON. Runs in MLServer's environment.

Usage: triton_client.py COMMAND http|grpc ADDRESS MODEL [--version V] [--id ID] [--inputs JSON] [--outputs NAME…]
[--times N] [--json]

Commands: `ready`, `metadata`, `server`, `infer`, and for gRPC `stream`, which sends the request N times on one stream.
Inputs are `[{"name", "datatype", "shape", "data"}]` with flat data; elements of BYTES are texts in hexadecimal, also in
what is printed. Without --outputs all are wanted. Over HTTP tensors are binary data both ways; with --json the inputs
and the outputs that are named are JSON. An error is printed as `{"error": …, "status": …}`.
"""

import argparse
import json
import queue
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

_STREAM_S = 20.0


def main() -> None:
    arguments = _arguments()
    module = tritonclient.http if arguments.protocol == "http" else tritonclient.grpc
    client = module.InferenceServerClient(arguments.address)
    try:
        answer = _COMMANDS[arguments.command](client, module, arguments)
    except InferenceServerException as error:
        answer = _error(error)
    finally:
        client.close()
    json.dump(answer, sys.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("protocol", choices=["http", "grpc"])
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("--version", default="")
    parser.add_argument("--id", default="")
    parser.add_argument("--inputs", type=json.loads, default=[])
    parser.add_argument("--outputs", nargs="*", default=[])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _ready(client: Any, module: Any, arguments: argparse.Namespace) -> Any:
    return {
        "live": client.is_server_live(),
        "server": client.is_server_ready(),
        "model": client.is_model_ready(arguments.model, arguments.version),
    }


def _metadata(client: Any, module: Any, arguments: argparse.Namespace) -> Any:
    return _plain(client.get_model_metadata(arguments.model, arguments.version, **_as_json(module)))


def _server(client: Any, module: Any, arguments: argparse.Namespace) -> Any:
    return _plain(client.get_server_metadata(**_as_json(module)))


def _as_json(module: Any) -> dict[str, bool]:
    return {"as_json": True} if module is tritonclient.grpc else {}


def _plain(answer: Any) -> Any:
    return json.loads(answer) if isinstance(answer, str | bytes) else answer


def _infer(client: Any, module: Any, arguments: argparse.Namespace) -> Any:
    return _result(client.infer(arguments.model, **_request(module, arguments)))


def _stream(client: Any, module: Any, arguments: argparse.Namespace) -> Any:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put(_error(error) if error else _result(result)))
    for _ in range(arguments.times):
        client.async_stream_infer(arguments.model, **_request(module, arguments))
    read = [answers.get(timeout=_STREAM_S) for _ in range(arguments.times)]
    client.stop_stream()
    return read


def _request(module: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    binary = {"binary_data": not arguments.json} if module is tritonclient.http else {}
    inputs = []
    for each in arguments.inputs:
        tensor = module.InferInput(each["name"], each["shape"], each["datatype"])
        tensor.set_data_from_numpy(_array(each), **binary)
        inputs.append(tensor)
    outputs = [module.InferRequestedOutput(name, **binary) for name in arguments.outputs]
    return {
        "inputs": inputs,
        "outputs": outputs or None,
        "model_version": arguments.version,
        "request_id": arguments.id,
    }


def _array(tensor: dict[str, Any]) -> Any:
    data = tensor["data"]
    if tensor["datatype"] == "BYTES":
        data = [bytes.fromhex(each) for each in data]
    return np.array(data, dtype=triton_to_np_dtype(tensor["datatype"])).reshape(tensor["shape"])


def _result(result: Any) -> Any:
    response = result.get_response()
    if isinstance(response, dict):
        outputs = [(each["name"], each["datatype"]) for each in response.get("outputs", ())]
        head = (response.get("model_name"), response.get("model_version", ""), response.get("id", ""))
    else:
        outputs = [(each.name, each.datatype) for each in response.outputs]
        head = (response.model_name, response.model_version, response.id)
    tensors = [_tensor(name, datatype, result.as_numpy(name)) for name, datatype in outputs]
    return {"model": head[0], "version": head[1], "id": head[2], "outputs": tensors}


def _tensor(name: str, datatype: str, array: Any) -> dict[str, Any]:
    data = array.flatten().tolist()
    if datatype == "BYTES":
        data = [(each.encode() if isinstance(each, str) else each).hex() for each in data]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def _error(error: InferenceServerException) -> dict[str, Any]:
    return {"error": error.message(), "status": error.status()}


_COMMANDS = {"ready": _ready, "metadata": _metadata, "server": _server, "infer": _infer, "stream": _stream}

if __name__ == "__main__":
    main()
