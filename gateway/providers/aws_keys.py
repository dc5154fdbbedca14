"""Temporary AWS keys of a role: from the Security Token Service (API version 2011-06-15)."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode
from xml.etree import ElementTree

from yarl import URL

from gateway.config.credential import AwsKey, AwsMachine, AwsRole, WebIdentity
from gateway.providers.aws_machine import fetch_machine_key, temporary_key
from gateway.providers.aws_signer import AwsSigner
from gateway.providers.fetching import Fetched, NoCredentialError, WorthAnotherTryError, exchange, fetch
from gateway.transport.messages import Headers, HttpSender

_HEADERS: Final = (("content-type", "application/x-www-form-urlencoded"), ("accept", "text/xml"))
_VERSION: Final = "2011-06-15"

# Errors with status 400 that are not for ever.
_PASSING: Final = frozenset({"Throttling", "ThrottlingException", "IDPCommunicationError"})
_ERROR_CODE: Final = re.compile(r"[A-Za-z.]{1,64}")


async def fetch_key(source: AwsMachine | AwsRole, region: str, http: HttpSender, now: float) -> Fetched[AwsKey]:
    """A key of that role or machine; `now` is in seconds since 1970. Raises `NoCredentialError`."""
    if isinstance(source, AwsMachine):
        return await fetch_machine_key(source, now)
    return await fetch(f"AWS key from {URL(source.sts_url).host}", lambda: _assume(source, region, http, now))


async def _assume(role: AwsRole, region: str, http: HttpSender, now: float) -> Fetched[AwsKey]:
    url = URL(role.sts_url)
    headers: Headers = _HEADERS
    form = {"Version": _VERSION, "RoleArn": role.arn, "RoleSessionName": role.session_name}
    if isinstance(role.source, WebIdentity):
        token = await asyncio.to_thread(_read_token, role.source.token_file)
        body = urlencode({**form, "Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token}).encode()
    else:
        key = role.source if isinstance(role.source, AwsKey) else (await fetch_machine_key(role.source, now)).value
        form["Action"] = "AssumeRole"
        if role.external_id:
            form["ExternalId"] = role.external_id
        body = urlencode(form).encode()
        headers = AwsSigner("sts", region).sign(key, "POST", url, headers, body)
    status, data = await exchange(http, "POST", url, headers, body)
    fields = _read(data)
    if status == 200:
        return temporary_key(fields, now)
    code = fields.get("Code", "")
    told = f"status {status}{f' ({code})' if _ERROR_CODE.fullmatch(code) else ''}"
    if code in _PASSING:
        raise WorthAnotherTryError(told)
    raise NoCredentialError(f"{told}; check the role and who may assume it")


def _read_token(file: str) -> str:
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise NoCredentialError(f"file {file} cannot be read") from None


def _read(data: bytes) -> Mapping[str, str]:
    """The texts in an answer by the names of their elements, of which those that are looked at occur once."""
    try:
        root = ElementTree.fromstring(data)  # noqa: S314  # expat bounds what entities grow to, `exchange` the rest
    except ElementTree.ParseError:
        return {}
    return {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}
