"""One access token from a real socket: what is sent, what is made of the answer, and what may pass."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.config.credential import EntraApp
from gateway.config.secret import SecretValue
from gateway.providers.accounts import read_entra_app, read_google_account
from gateway.providers.fetching import Fetched, NoCredentialError
from gateway.providers.token_fetch import fetch_token
from gateway.transport.http import HttpTransport
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response
from tests.support.token_issuer import TokenIssuer, entra_app, rsa_key, service_account

NOW = 1_900_000_000.0


async def fetched(upstream: FaultyUpstream) -> Fetched[SecretValue]:
    """A token for an application, from that issuer."""
    grant = EntraApp(
        client_id="app", client_secret=SecretValue("pass"), token_url=f"{upstream.url}/t/oauth2/v2.0/token", scope="s"
    )
    transport = HttpTransport(idle_timeout_s=1)
    try:
        return await fetch_token(grant, transport, NOW)
    finally:
        await transport.close()


@pytest.mark.parametrize(
    ("expires_in", "lifetime_s"),
    [
        (3599, 3599),
        ("3599", 3599),
        (None, 3600),
        (0, 0),
        (-1, 0),
        ("nan", 0),
        (1e30, 86400),
        ("soon", 3600),
        (59.5, 59.5),
    ],
)
async def test_how_long_it_is_good(faulty_upstream: FaultyUpstream, expires_in: Any, lifetime_s: float) -> None:
    told = {"access_token": "t-1", "token_type": "Bearer"} | ({} if expires_in is None else {"expires_in": expires_in})
    faulty_upstream.script = scripts.answer(json_response(200, told))
    token = await fetched(faulty_upstream)
    assert (token.value.reveal(), token.lifetime_s) == ("t-1", lifetime_s)
    assert "t-1" not in repr(token)


@pytest.mark.parametrize("fault", [scripts.fail(500), scripts.fail(429), scripts.reset(), scripts.cut(b"HTTP/1.1", 5)])
async def test_what_may_pass_is_tried_three_times(faulty_upstream: FaultyUpstream, fault: scripts.Script) -> None:
    faulty_upstream.script = fault
    with pytest.raises(NoCredentialError, match=r"^no access token from 127.0.0.1: "):
        await fetched(faulty_upstream)
    assert len(faulty_upstream.requests) == 3
    good = scripts.answer(json_response(200, {"access_token": "t-1", "expires_in": 60}))
    faulty_upstream.next.extend([fault, good])
    assert (await fetched(faulty_upstream)).value.reveal() == "t-1"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            400,
            b'{"error": "invalid_grant", "error_description": "sk-7"}',
            "status 400 (invalid_grant); check the secret",
        ),
        (401, b'{"error": "sk-7 and more"}', "status 401; check the secret"),
        (403, b"sk-7", "status 403; check the secret"),
        (302, b"", "status 302; check the secret"),
        (200, b"sk-7", "the answer has no access token"),
        (200, b'{"access_token": ""}', "the answer has no access token"),
        (200, b'{"access_token": "a\\r\\nx: sk-7"}', "the answer has no access token"),
        (200, b'{"access_token": {"a": 1}}', "the answer has no access token"),
        (200, b"[" * 100_000, "the answer has no access token"),
    ],
)
async def test_what_will_not_pass_is_told_at_once(
    faulty_upstream: FaultyUpstream, status: int, body: bytes, told: str
) -> None:
    if len(body) > 64 * 1024:
        told = "the answer is larger than 65536 bytes"
    faulty_upstream.script = scripts.answer(response(status, body))
    with pytest.raises(NoCredentialError) as caught:
        await fetched(faulty_upstream)
    assert str(caught.value) == f"no access token from 127.0.0.1: {told}"


async def test_account_signs_what_google_asks_for(faulty_upstream: FaultyUpstream) -> None:
    issuer = TokenIssuer()
    faulty_upstream.script = issuer
    account = read_google_account(service_account(f"{faulty_upstream.url}/token"))
    transport = HttpTransport(idle_timeout_s=1)
    try:
        with pytest.raises(NoCredentialError, match=r"status 400 \(invalid_grant\)"):
            await fetch_token(account, transport, NOW)  # a time that is not now
    finally:
        await transport.close()
    assert issuer.claims[0]["iat"] == NOW
    assert issuer.claims[0]["exp"] == NOW + 3600


async def test_key_whose_numbers_do_not_fit_together_cannot_sign(faulty_upstream: FaultyUpstream) -> None:
    right = rsa_key().private_numbers()
    wrong = RSAPrivateNumbers(
        right.p, right.q, right.d + 2, right.dmp1, right.dmq1, right.iqmp, right.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem = wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = read_google_account(service_account(f"{faulty_upstream.url}/token", private_key=pem))
    transport = HttpTransport(idle_timeout_s=1)
    try:
        with pytest.raises(NoCredentialError, match="private_key cannot sign"):
            await fetch_token(account, transport, NOW)
    finally:
        await transport.close()
    assert faulty_upstream.requests == []


# What secrets say of accounts.


def test_entra_app() -> None:
    app = read_entra_app(entra_app("https://login.microsoftonline.us"))
    assert (app.client_id, app.client_secret.reveal()) == ("app-1", "pass~word/1")
    assert app.token_url == "https://login.microsoftonline.us:443/tenant-1/oauth2/v2.0/token"
    without = {key: value for key, value in json.loads(entra_app("")).items() if key != "authority_host"}
    assert read_entra_app(json.dumps(without)).token_url.startswith("https://login.microsoftonline.com:443/tenant-1/")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tenant_id": "../x"}, "has a tenant_id that is neither an id nor a domain"),
        ({"tenant_id": None}, "has no tenant_id"),
        ({"client_id": 7}, "has something else than printable text as its client_id"),
        ({"client_secret": "a\nb"}, "has something else than printable text as its client_secret"),
        ({"authority_host": "http://login.example"}, "has no https:// URL as its authority_host"),
        ({"authority_host": "nonsense"}, "has no https:// URL as its authority_host"),
    ],
)
def test_app_that_cannot_be_used(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        read_entra_app(entra_app("https://login.microsoftonline.com", **changes))
