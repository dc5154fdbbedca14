"""Temporary AWS keys of what a node runs on: a container of ECS or EKS (Pod Identity), or an instance of EC2 (IMDSv2).

Where they are to be had the platform says in variables of the node's environment.
"""

import asyncio
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from janua_resources.addresses import parse_url
from yarl import URL

from gateway.config.credential import AwsKey, AwsMachine
from gateway.config.secret import SecretValue
from gateway.providers.fetching import Fetched, NoCredentialError, exchange, fetch
from gateway.transport.http import HttpTransport
from gateway.transport.messages import Headers, HttpSender

_RELATIVE_URI: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
_FULL_URI: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
_TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105  # a name
_INSTANCE_ENDPOINT: Final = "AWS_EC2_METADATA_SERVICE_ENDPOINT"

_ECS: Final = "http://169.254.170.2"
_EC2: Final = "http://169.254.169.254"
# Hosts of AWS that may be asked without encryption: they are links of the machine itself.
_LINKS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})

_INSTANCE_ROLES: Final = "/latest/meta-data/iam/security-credentials/"
_SESSION_S: Final = "300"
_DEFAULT_LIFETIME_S: Final = 3600.0

_decoder = msgspec.json.Decoder(dict[str, Any])


def machine_fault(machine: AwsMachine, environ: Mapping[str, str]) -> str | None:
    """Why this node cannot get a key from there, to follow "the secret"; None if it may be able to."""
    try:
        _endpoint(machine, environ)
    except ValueError as error:
        return str(error)
    return None


async def fetch_machine_key(
    machine: AwsMachine, now: float, environ: Mapping[str, str] = os.environ
) -> Fetched[AwsKey]:
    """A key for this machine; `now` is in seconds since 1970. Raises `NoCredentialError`."""
    url = _endpoint(machine, environ)
    # A way of its own: not through a service's proxy, from which such an address is another machine's.
    http = HttpTransport(idle_timeout_s=1.0)
    try:
        if machine is AwsMachine.CONTAINER:
            return await fetch(f"AWS key from {url.host}", lambda: _ask_container(url, environ, http, now))
        return await fetch(f"AWS key from {url.host}", lambda: _ask_instance(url, http, now))
    finally:
        await http.close()


def temporary_key(fields: Mapping[str, Any], now: float) -> Fetched[AwsKey]:
    """The key in an answer of AWS's. Raises `NoCredentialError` if there is none that is good now."""
    values = (fields.get("AccessKeyId"), fields.get("SecretAccessKey"), fields.get("SessionToken", fields.get("Token")))
    if not all(isinstance(value, str) and value and value.isascii() and value.isprintable() for value in values):
        raise NoCredentialError("the answer has no key")
    try:
        ends = fields.get("Expiration")
        lifetime_s = _DEFAULT_LIFETIME_S if ends is None else datetime.fromisoformat(ends).timestamp() - now
    except (TypeError, ValueError):
        raise NoCredentialError("the answer does not say how long the key is good") from None
    if lifetime_s <= 0:
        raise NoCredentialError("the key in the answer has expired; check the clock")
    key_id, key, token = (SecretValue(str(value)) for value in values)
    return Fetched(AwsKey(access_key_id=key_id, secret_access_key=key, session_token=token), lifetime_s)


def _endpoint(machine: AwsMachine, environ: Mapping[str, str]) -> URL:
    """Who is to be asked. Raises `ValueError`, in words to follow "the secret"."""
    if machine is AwsMachine.INSTANCE:
        try:
            return URL(str(parse_url(environ.get(_INSTANCE_ENDPOINT) or _EC2)))
        except ValueError as error:
            raise ValueError(f"asks for an instance's key, but in {_INSTANCE_ENDPOINT} {error}") from None
    if path := environ.get(_RELATIVE_URI):
        return URL(_ECS + path, encoded=True)
    if not (full := environ.get(_FULL_URI)):
        raise ValueError(f"asks for a container's key, but this node has neither {_RELATIVE_URI} nor {_FULL_URI}")
    try:
        address = parse_url(full.partition("?")[0])
    except ValueError as error:
        raise ValueError(f"asks for a container's key, but in {_FULL_URI} {error}") from None
    if address.scheme != "https" and not address.is_loopback and address.host not in _LINKS:
        raise ValueError(f"asks for a container's key, but {_FULL_URI} is neither https:// nor an address of AWS's")
    return URL(full, encoded=True)


async def _ask_container(url: URL, environ: Mapping[str, str], http: HttpSender, now: float) -> Fetched[AwsKey]:
    headers = [("accept", "application/json")]
    # Who puts it in a file changes it there.
    if file := environ.get(f"{_TOKEN}_FILE"):
        try:
            headers.append(("authorization", (await asyncio.to_thread(Path(file).read_text, "utf-8")).strip()))
        except (OSError, UnicodeDecodeError):
            raise NoCredentialError(f"file {file} cannot be read") from None
    elif token := environ.get(_TOKEN):
        headers.append(("authorization", token))
    return temporary_key(_fields(await _get(http, url, headers)), now)


async def _ask_instance(url: URL, http: HttpSender, now: float) -> Fetched[AwsKey]:
    asked = [("x-aws-ec2-metadata-token-ttl-seconds", _SESSION_S)]
    session = await _get(http, url.with_path("/latest/api/token"), asked, "PUT")
    headers = [("x-aws-ec2-metadata-token", _line(session))]
    role = _line(await _get(http, url.with_path(_INSTANCE_ROLES), headers))
    fields = _fields(await _get(http, url.with_path(_INSTANCE_ROLES + role), headers))
    return temporary_key(fields, now)


async def _get(http: HttpSender, url: URL, headers: Headers, method: str = "GET") -> bytes:
    status, data = await exchange(http, method, url, headers)
    if status != 200:
        raise NoCredentialError(f"status {status}; check that there is a role for what this node runs on")
    return data


def _line(data: bytes) -> str:
    """The first line of a text, which must be one that can be sent back."""
    line = data.partition(b"\n")[0].strip().decode("utf-8", "replace")
    if not line or not line.isascii() or not line.isprintable():
        raise NoCredentialError("the answer is not understood")
    return line


def _fields(data: bytes) -> Mapping[str, Any]:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise NoCredentialError("the answer is no JSON object") from None
