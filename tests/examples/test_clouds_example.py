"""`examples/clouds.yaml`: a real node does with it what its comments say."""

import json
from collections import Counter

import aiohttp

from tests.examples.test_examples import KEY, start
from tests.support.aws_signatures import AwsAccount
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.processes import Node, NodeFactory
from tests.support.scripts import Exchange, chat, fail
from tests.support.token_issuer import entra_app, service_account

ACCOUNT = AwsAccount(access_key_id="AKIA", secret_access_key="secret")
CONVERSE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


async def ask(node: Node, model: str) -> int:
    """The status of one request."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    url = f"http://{node.http}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=KEY) as reply:
        await reply.read()
        return reply.status


async def test_clouds_are_called_with_accounts_and_keys_stand_in_for_each_other(
    node: NodeFactory, faulty_upstream: FaultyUpstream
) -> None:
    aws = {"access_key_id": ACCOUNT.access_key_id, "secret_access_key": ACCOUNT.secret_access_key}
    gateway = await start(
        node,
        "clouds.yaml",
        BEDROCK=faulty_upstream.url,
        OPENAI=faulty_upstream.url,
        AWS_CREDENTIAL=json.dumps(aws),
        GOOGLE_ACCOUNT=service_account("https://oauth2.googleapis.com/token"),
        AZURE_APP=entra_app("https://login.microsoftonline.com"),
        OPENAI_KEY_1="sk-1",
        OPENAI_KEY_2="sk-2",
    )

    async def bedrock(exchange: Exchange) -> None:
        fault = ACCOUNT.fault(exchange.request)
        await exchange.send(json_response(403 if fault else 200, {"message": fault} if fault else CONVERSE))

    faulty_upstream.script = bedrock
    assert await ask(gateway, "nova") == 200
    assert faulty_upstream.requests[0].target == "/model/eu.amazon.nova-lite-v1%3A0/converse"

    url = f"http://{gateway.http}/aws/model/nova/invoke"
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=KEY) as reply:
        assert (reply.status, await reply.json()) == (200, CONVERSE)
    assert faulty_upstream.requests[1].target == "/model/eu.amazon.nova-lite-v1%3A0/invoke"

    faulty_upstream.requests.clear()
    faulty_upstream.script = chat("hello")
    for _ in range(40):
        assert await ask(gateway, "mini") == 200
    keys = Counter(request.header("authorization") for request in faulty_upstream.requests)
    assert abs(keys["Bearer sk-1"] - 30) <= 1

    async def refusing(exchange: Exchange) -> None:
        is_first = exchange.request.header("authorization") == "Bearer sk-1"
        await (fail(429) if is_first else chat("hello"))(exchange)

    faulty_upstream.script = refusing
    for _ in range(4):
        assert await ask(gateway, "mini") == 200
