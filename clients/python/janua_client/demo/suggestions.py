"""What to try with the running demo: whole commands, to be copied into another terminal."""

import json
from collections.abc import Iterator

from janua_client.demo.configuration import API_KEY
from janua_client.demo.stack import Served

_SERVICE = "janua.inference.v1.InferenceService"


def suggestions(served: Served, model: str) -> Iterator[tuple[str, str]]:
    """Pairs of a heading and a command for a POSIX shell."""
    yield "curl", curl(served.http, model)
    yield "the openai client", openai(served.http, model)
    yield "gRPC with buf", buf(served.grpc, model)
    yield "gRPC with grpcurl", grpcurl(served.grpc, model)
    yield "a conversation", f"JANUA_API_KEY={API_KEY} janua chat {model} --url http://{served.http}"
    yield "nodes and endpoints, and why", f"janua status --server {served.config}; curl http://{served.admin}/endpoints"


def curl(http: str, model: str) -> str:
    """A streamed answer over HTTP."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "What is a gateway?"}]}
    return (
        f"curl -N http://{http}/v1/chat/completions -H 'authorization: Bearer {API_KEY}' "
        f"-H 'content-type: application/json' -d '{json.dumps({**body, 'max_tokens': 48})}'"
    )


def openai(http: str, model: str) -> str:
    """The official Python client, unchanged."""
    return (
        f"OPENAI_BASE_URL=http://{http}/v1 OPENAI_API_KEY={API_KEY} python -c 'from openai import OpenAI; "
        f'print(OpenAI().chat.completions.create(model="{model}", max_tokens=48, '
        'messages=[{"role": "user", "content": "What is a door?"}]).choices[0].message.content)\''
    )


def buf(grpc: str, model: str) -> str:
    """A call by reflection, without any generated code."""
    return (
        f"buf curl --http2-prior-knowledge --protocol grpc -H 'authorization: Bearer {API_KEY}' "
        f"-d '{_call(model)}' http://{grpc}/{_SERVICE}/CreateChatCompletion"
    )


def grpcurl(grpc: str, model: str) -> str:
    """The same with grpcurl."""
    return (
        f"grpcurl -plaintext -H 'authorization: Bearer {API_KEY}' "
        f"-d '{_call(model)}' {grpc} {_SERVICE}/CreateChatCompletion"
    )


def _call(model: str) -> str:
    message = {"role": "ROLE_USER", "content": [{"text": "What is a gate?"}]}
    return json.dumps({"request": {"model": model, "messages": [message], "max_output_tokens": 48}})
