"""Who gives temporary AWS keys, on a real socket: the Security Token Service, an instance's metadata and a container's
credentials."""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from tests.support.aws_signatures import AwsAccount
from tests.support.http_wire import json_response, response
from tests.support.scripts import Exchange

ROLE: Final = "arn:aws:iam::111122223333:role/gateway"
CONTAINER_TOKEN: Final = "container/token=="
_SESSION: Final = "session-of-imds=="
_ROLES: Final = "/latest/meta-data/iam/security-credentials/"

_ROLE_KEY = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result>
<AssumedRoleUser><AssumedRoleId>AROA:janua</AssumedRoleId><Arn>{1}</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>{2}</AccessKeyId><SecretAccessKey>{3}</SecretAccessKey><SessionToken>{4}</SessionToken>
<Expiration>{5}</Expiration></Credentials></{0}Result>
<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{0}Response>"""
_ERROR = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{}</Code><Message>sk-7</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"""


def sts_error(status: int, code: str) -> bytes:
    """An error of the Security Token Service's."""
    return response(status, _ERROR.format(code).encode(), content_type="text/xml")


@dataclass(slots=True)
class AwsKeyIssuer:
    """A script that gives whoever may have it the next key: `ASIA1`, `ASIA2`, and so on; each is good for `lifetime_s`.

    A role is given to who signs with `base`, or shows `web_token`, and tells the `external_id`.
    """

    base: AwsAccount | None = None
    web_token: str = ""
    external_id: str | None = None
    lifetime_s: float = 3600
    issued: list[AwsAccount] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        request = exchange.request
        match request.method, request.target:
            case "POST", "/":
                await exchange.send(self._assume(exchange))
            case "GET", "/v2/credentials/1" if request.header("authorization") == CONTAINER_TOKEN:
                await exchange.send(self._machine_key())
            case "PUT", "/latest/api/token" if request.header("x-aws-ec2-metadata-token-ttl-seconds") == "300":
                await exchange.send(response(200, _SESSION.encode()))
            case "GET", path if request.header("x-aws-ec2-metadata-token") == _SESSION and path == _ROLES:
                await exchange.send(response(200, b"node-role\n"))
            case "GET", path if request.header("x-aws-ec2-metadata-token") == _SESSION and path == f"{_ROLES}node-role":
                await exchange.send(self._machine_key())
            case _:
                await exchange.send(response(403, b"sk-7"))

    def known(self, access_key_id: str, **use: str) -> AwsAccount:
        """The account with that key, for another use."""
        return replace(next(each for each in self.issued if each.access_key_id == access_key_id), **use)

    def _assume(self, exchange: Exchange) -> bytes:
        request = exchange.request
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        action = form["Action"]
        if action == "AssumeRoleWithWebIdentity":
            fault = None if form["WebIdentityToken"] == self.web_token else "the token is wrong"
            if request.header("authorization") is not None:
                fault = "it is signed"
        else:
            assert action == "AssumeRole"
            key_id = (request.header("authorization") or "").partition("Credential=")[2].partition("/")[0]
            signer = self.base if self.base is not None else self.known(key_id, service="sts")
            fault = signer.fault(request)
        told = (form["Version"], form["RoleArn"], form.get("ExternalId"), form["RoleSessionName"])
        if fault is not None or told != ("2011-06-15", ROLE, self.external_id, "janua"):
            return sts_error(403, "AccessDenied")
        key = self._next()
        text = _ROLE_KEY.format(
            action, ROLE, key.access_key_id, key.secret_access_key, key.session_token, self._expiration()
        )
        return response(200, text.encode(), content_type="text/xml")

    def _machine_key(self) -> bytes:
        key = self._next()
        fields = {
            "Code": "Success",
            "AccessKeyId": key.access_key_id,
            "SecretAccessKey": key.secret_access_key,
            "Token": key.session_token,
            "Expiration": self._expiration(),
        }
        return json_response(200, fields)

    def _next(self) -> AwsAccount:
        number = len(self.issued) + 1
        key = AwsAccount(
            access_key_id=f"ASIA{number}", secret_access_key=f"secret/{number}+", session_token=f"token/{number}=="
        )
        self.issued.append(key)
        return key

    def _expiration(self) -> str:
        return datetime.fromtimestamp(time.time() + self.lifetime_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
