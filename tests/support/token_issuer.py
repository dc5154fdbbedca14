"""Who issues access tokens, on a real socket: for assertions of a Google service account, and for passwords of an
application of Microsoft's."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.http_wire import ReceivedRequest, json_response
from tests.support.scripts import Exchange

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@cache
def rsa_key() -> RSAPrivateKey:
    """One for all tests: to make one takes long."""
    return generate_private_key(65537, 2048)


def service_account(token_uri: str, **changes: Any) -> str:
    """The file of a service account, as Google's console gives it."""
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    fields = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "key-1",
        "private_key": pem,
        "client_email": "node@my-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
    return json.dumps(fields | changes, indent=2)


def entra_app(authority: str, **changes: Any) -> str:
    """The secret of an application."""
    fields = {
        "tenant_id": "tenant-1",
        "client_id": "app-1",
        "client_secret": "pass~word/1",
        "authority_host": authority,
    }
    return json.dumps(fields | changes)


@dataclass(slots=True)
class TokenIssuer:
    """A script that gives whoever may have it the next token: `token-1`, `token-2`, and so on."""

    lifetime_s: int = 3600
    issued: int = 0
    claims: list[Mapping[str, Any]] = field(default_factory=list)
    forms: list[Mapping[str, str]] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        form = {name: values[0] for name, values in parse_qs(exchange.request.body.decode()).items()}
        self.forms.append(form)
        if not self._may(form, exchange.request):
            answer = {"error": "invalid_grant", "error_description": "no: " + exchange.request.body.decode()}
            await exchange.send(json_response(400, answer))
            return
        self.issued += 1
        token = {"access_token": f"token-{self.issued}", "expires_in": self.lifetime_s, "token_type": "Bearer"}
        await exchange.send(json_response(200, token))

    def _may(self, form: Mapping[str, str], request: ReceivedRequest) -> bool:
        if form["grant_type"] == JWT_BEARER:
            return self._reads(form["assertion"], f"http://{request.header('host')}{request.target}")
        return form["grant_type"] == "client_credentials" and form["client_secret"] == "pass~word/1"

    def _reads(self, assertion: str, audience: str) -> bool:
        signed, _, signature = assertion.rpartition(".")
        try:
            rsa_key().public_key().verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        self.claims.append(claims)
        is_now = abs(claims["iat"] - time.time()) < 60 and 0 < claims["exp"] - claims["iat"] <= 3600
        is_meant = bool(claims["aud"] == audience)
        return is_now and is_meant and header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
