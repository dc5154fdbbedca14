"""No key, credential, prompt or answer stands in anything that a node writes or shows of itself."""

import subprocess
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.conformance.calls import Answer, Caller, Question, ask
from tests.conformance.configuration import Configuration, api_key, proxy_service, with_keys
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.http_caller import HttpCaller
from tests.conformance.upstream_scripts import FIRST_EVENTS, open_stream, stream_of, text_event
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response, sse
from tests.support.scripts import Script, answer, chat, cut, fail, reset
from tests.support.tokens import assembled, claims, ec_key, jwk, key_set, policy, token

KEY, WRONG_KEY, CREDENTIAL = "sk-caller-5e1f", "sk-wrong-77aa", "sk-provider-9c3d"
PROMPT, REPLY = "the-prompt-of-alice", "the-reply-to-alice"
CONFIDENTIAL = (KEY, WRONG_KEY, CREDENTIAL, PROMPT, REPLY, sha256(KEY.encode()).hexdigest())

# Nothing of a token is shown, neither its parts nor what it says: every part of one begins like this.
TOKEN_PART, CLAIM = "eyJ", "the-claim-of-alice"
ISSUER_KEY = ec_key()
TOKENS = {
    "good": token(ISSUER_KEY, claims(secret=CLAIM)),
    "expired": token(ISSUER_KEY, claims(exp=1, secret=CLAIM)),
    "other issuer": token(ISSUER_KEY, claims(iss=CLAIM)),
    "other audience": token(ISSUER_KEY, claims(aud=CLAIM)),
    "no subject": token(ISSUER_KEY, claims(sub={CLAIM: 1})),
    "times that are none": token(ISSUER_KEY, claims(nbf=CLAIM)),
    "unknown key": token(ISSUER_KEY, claims(secret=CLAIM), key_id=CLAIM),
    "forged": token(ec_key(), claims(secret=CLAIM)),
    "unsigned": assembled({"alg": "none"}, claims(secret=CLAIM)),
    "unknown type": token(ISSUER_KEY, claims(), typ=CLAIM),
    "unknown algorithm": assembled({"alg": CLAIM, "kid": "k1"}, claims(secret=CLAIM), b"x"),
    "garbage": f"eyJ{CLAIM}.{CLAIM}.x",
}

BEGUN = open_stream(FIRST_EVENTS, *sse(text_event(REPLY), done=False))
SCRIPTS: dict[str, Script] = {
    "answer": chat(REPLY),
    "refusal that quotes the prompt": fail(400, f"cannot parse '{PROMPT}'"),
    "refusal that quotes the credential": fail(401, f"wrong key {CREDENTIAL}"),
    "failure that quotes the prompt": fail(500, f"out of memory at '{PROMPT}'"),
    "unavailable": fail(503, PROMPT),
    "no answer": answer(response(200, PROMPT.encode())),
    "reset": reset(),
    "cut": cut(BEGUN, len(BEGUN)),
    "garbage": stream_of([f"data: {{{PROMPT}\n\n".encode()]),
    "garbage later": stream_of([*sse(text_event(REPLY), done=False), f"data: {{{PROMPT}\n\n".encode()]),
}


def configuration(upstream: FaultyUpstream) -> Configuration:
    """A provider with a credential, and callers with keys."""
    config = with_keys(
        {
            "secrets": [{"name": "provider-key", "env": "PROVIDER_KEY"}],
            "services": [proxy_service("provider", upstream.url, secret="provider-key")],
            "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "provider"}]}],
        },
        api_key(KEY),
    )
    sizes = {"name": "sizes", "size_limits": {"max_body_bytes": 10_000, "max_header_bytes": 5_000}}
    origins = {"name": "web", "cors": {"allow_origins": ["https://app.example"]}}
    policies = [*config["policies"], policy(jwks=key_set(jwk(ISSUER_KEY)), groups_claim="secret"), sizes, origins]
    routes = [{**config["routes"][0], "policies": ["keys", "sso", "sizes", "web"]}]
    return {**config, "policies": policies, "routes": routes}


@pytest.fixture
async def talkative(upstream: FaultyUpstream, tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    """A node that logs all it can."""
    process = GatewayProcess(tmp_path)
    try:
        process.start(
            render(configuration(upstream), "at-start"), "--log-level=debug", env={"PROVIDER_KEY": CREDENTIAL}
        )
        yield Gateway(process, session)
    finally:
        process.stop()


async def test_nothing_confidential_is_written_or_shown(
    talkative: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    async with grpc.aio.insecure_channel(talkative.addresses.grpc) as channel:
        callers: list[Caller] = [HttpCaller(talkative.addresses.http, session), GrpcCaller(channel)]
        for caller in callers:
            for script in SCRIPTS.values():
                upstream.script = script
                for streamed in (False, True):
                    await ask_with(caller, KEY, streamed=streamed)
            for presented in TOKENS.values():
                answered = await ask_with(caller, presented)
                assert TOKEN_PART not in str(answered)
                assert CLAIM not in str(answered)
            await ask(caller, Question(text=PROMPT * 1000, headers={"authorization": f"Bearer {KEY}"}))
            await ask_with(caller, KEY + "x" * 5_000)
            refused = await ask_with(caller, WRONG_KEY)
            await ask(caller, Question(model=PROMPT, headers={"x-api-key": WRONG_KEY}))
            last = await ask_with(caller, KEY)
            # Written in order: what came before it is written too.
            await talkative.access_log_entry(last.headers["x-request-id"])
            assert refused.failure is not None
            assert WRONG_KEY not in str(refused)
    await send_garbage(talkative, session)
    assert any(CREDENTIAL in (request.header("authorization") or "") for request in upstream.requests)

    shown = [(await talkative.get(path))[1] for path in ("/metrics", "/config_dump", "/endpoints")]
    talkative.process.stop()

    for text in (talkative.process.written, *shown):
        assert [word for word in CONFIDENTIAL if word in text and word != PROMPT] == []
        assert TOKEN_PART not in text
        assert CLAIM not in text
    # A model name is told, whatever the caller puts there; nothing else of the request is.
    for text in (talkative.process.log, *shown):
        assert PROMPT not in text
    assert talkative.process.access_log.read_text("utf-8").count(PROMPT) == 2


async def ask_with(caller: Caller, key: str, *, streamed: bool = False) -> Answer:
    """One question with a key and a prompt."""
    headers = {"authorization": f"Bearer {key}"}
    return await ask(caller, Question(text=PROMPT, headers=headers), streamed=streamed)


async def send_garbage(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """Requests that are none, with something confidential in each part."""
    url = f"http://{gateway.addresses.http}/v1/chat/completions?key={KEY}"
    headers = {"authorization": f"Bearer {KEY}"}
    pages = {"origin": f"https://{KEY}.example", "access-control-request-headers": KEY}
    for method in ("POST", KEY):
        asked = {**headers, **pages, "access-control-request-method": method}
        async with session.options(url, headers=asked) as got:
            assert got.status == 403
            assert KEY not in await got.text()
    async with session.post(url, data=PROMPT.encode(), headers={**headers, "content-encoding": "gzip"}) as got:
        assert got.status == 415
    for body in (
        f'{{"model": "m", "{PROMPT}',
        f'{{"model": {{"{PROMPT}": 1}}}}',
        f'{{"model": "m", "stream": "{PROMPT}"}}',
    ):
        async with session.post(url, data=body.encode(), headers=headers) as got:
            assert got.status == 400
    for path in (f"/v1/{KEY}", f"/other?key={KEY}"):
        async with session.get(f"http://{gateway.addresses.http}{path}", headers=headers) as got:
            assert got.status == 404


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_faults_are_logged_without_the_values_of_variables(log_format: str) -> None:
    program = f"""
import sys, structlog
from gateway.telemetry.logging import configure_logging
configure_logging("info", "{log_format}")
def handle(body):
    raise ValueError("a fault of ours")
try:
    handle(sys.argv[1])
except ValueError:
    structlog.get_logger("janua.http").exception("request failed")
"""
    command = [sys.executable, "-c", program, PROMPT]
    logged = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "Traceback" in logged
    assert "a fault of ours" in logged
    assert PROMPT not in logged
