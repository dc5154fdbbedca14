"""Temporary AWS keys from a real socket: what is sent, what is made of the answer, and what may pass."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.credential import AwsAccount, AwsKey, AwsMachine, AwsRole, WebIdentity
from gateway.providers.accounts import foreign_issuer, read_aws_account
from gateway.providers.aws_keys import fetch_key
from gateway.providers.aws_machine import fetch_machine_key, machine_fault
from gateway.providers.fetching import Fetched, NoCredentialError
from gateway.transport.http import HttpTransport
from tests.support import aws_signatures, scripts
from tests.support.aws_key_issuer import CONTAINER_TOKEN, ROLE, AwsKeyIssuer, sts_error
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response

BASE = aws_signatures.AwsAccount(access_key_id="AKIA", secret_access_key="secret", service="sts")
KEY = {"access_key_id": BASE.access_key_id, "secret_access_key": BASE.secret_access_key}
TOKEN_FILE = "/var/run/token"


def read(**fields: Any) -> AwsAccount:
    """The account that a secret tells of."""
    return read_aws_account(json.dumps(fields), region="eu-west-1", service="bedrock")


async def fetched(role: AwsRole | AwsMachine) -> Fetched[AwsKey]:
    """A key of that role."""
    transport = HttpTransport(idle_timeout_s=1)
    try:
        return await fetch_key(role, "eu-west-1", transport, time.time())
    finally:
        await transport.close()


def role_at(upstream: FaultyUpstream, **fields: Any) -> AwsRole:
    source = read(role_arn=ROLE, sts_url=upstream.url, **(fields or KEY)).source
    assert isinstance(source, AwsRole)
    return source


def shown(key: AwsKey) -> tuple[str, str, str | None]:
    """The key in clear."""
    token = key.session_token.reveal() if key.session_token is not None else None
    return key.access_key_id.reveal(), key.secret_access_key.reveal(), token


async def test_role_is_assumed_with_a_signed_request(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = AwsKeyIssuer(base=BASE, external_id="x-1")
    key = await fetched(role_at(faulty_upstream, **KEY, external_id="x-1"))
    assert shown(key.value) == ("ASIA1", "secret/1+", "token/1==")
    assert 3590 < key.lifetime_s < 3610
    assert "secret/1" not in repr(key)


async def test_role_is_assumed_with_the_token_that_is_in_the_file_now(
    faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    issuer = AwsKeyIssuer()
    faulty_upstream.script = issuer
    file = tmp_path / "token"
    role = role_at(faulty_upstream, web_identity_token_file=str(file))
    for issuer.web_token in ("eyJ.1", "eyJ.2"):
        file.write_text(f"{issuer.web_token}\n", "utf-8")
        await fetched(role)
    assert len(issuer.issued) == 2
    file.unlink()
    with pytest.raises(NoCredentialError, match=r"^no AWS key from 127.0.0.1: file .*/token cannot be read$"):
        await fetched(role)


@pytest.mark.parametrize("fault", [scripts.fail(500), scripts.reset(), sts_error(400, "IDPCommunicationError")])
async def test_what_may_pass_is_tried_again(faulty_upstream: FaultyUpstream, fault: scripts.Script | bytes) -> None:
    fault = scripts.answer(fault) if isinstance(fault, bytes) else fault
    faulty_upstream.script = AwsKeyIssuer(base=BASE)
    faulty_upstream.next.extend([fault, fault])
    assert shown((await fetched(role_at(faulty_upstream))).value)[0] == "ASIA1"
    faulty_upstream.next.extend([fault, fault, fault])
    with pytest.raises(NoCredentialError, match=r"^no AWS key from 127.0.0.1: "):
        await fetched(role_at(faulty_upstream))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sts_error(403, "AccessDenied"), "status 403 (AccessDenied); check the role and who may assume it"),
        (sts_error(400, "sk-7 and more"), "status 400; check the role and who may assume it"),
        (response(400, b"sk-7"), "status 400; check the role and who may assume it"),
        (response(200, b"sk-7"), "the answer has no key"),
        (response(200, b"<a><AccessKeyId>sk-7</AccessKeyId></a>"), "the answer has no key"),
        (response(200, b"<a>" * 10_000), "the answer has no key"),
        (response(200, b"x" * 70_000), "the answer is larger than 65536 bytes"),
        (
            response(
                200,
                b"<a><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey><SessionToken>C</SessionToken>"
                b"<Expiration>2020-01-01T00:00:00Z</Expiration></a>",
            ),
            "the key in the answer has expired; check the clock",
        ),
        (
            response(
                200,
                b"<a><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey><SessionToken>C</SessionToken>"
                b"<Expiration>sk-7</Expiration></a>",
            ),
            "the answer does not say how long the key is good",
        ),
    ],
)
async def test_what_will_not_pass_is_told(faulty_upstream: FaultyUpstream, answer: bytes, told: str) -> None:
    faulty_upstream.script = scripts.answer(answer)
    with pytest.raises(NoCredentialError) as caught:
        await fetched(role_at(faulty_upstream))
    assert str(caught.value) == f"no AWS key from 127.0.0.1: {told}"


async def test_what_a_bomb_of_entities_grows_to_is_bounded(faulty_upstream: FaultyUpstream) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 100}">' for n in range(10))
    faulty_upstream.script = scripts.answer(response(200, f"<!DOCTYPE a [{entities}]><a>&e9;</a>".encode()))
    with pytest.raises(NoCredentialError, match="has no key"):
        await fetched(role_at(faulty_upstream))


# Of the machine.


def container(upstream: FaultyUpstream, **environ: str) -> dict[str, str]:
    uri = f"{upstream.url}/v2/credentials/1"
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN, **environ}


async def test_instance_gives_a_key_of_its_role(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = AwsKeyIssuer()
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{faulty_upstream.url}/"}
    key = await fetch_machine_key(AwsMachine.INSTANCE, time.time(), environ)
    assert shown(key.value) == ("ASIA1", "secret/1+", "token/1==")
    assert 3590 < key.lifetime_s < 3610


async def test_container_gives_a_key(faulty_upstream: FaultyUpstream, tmp_path: Path) -> None:
    faulty_upstream.script = AwsKeyIssuer()
    file = tmp_path / "token"
    file.write_text(f"{CONTAINER_TOKEN}\n", "utf-8")
    for environ in (
        container(faulty_upstream),
        container(
            faulty_upstream, AWS_CONTAINER_AUTHORIZATION_TOKEN="old", AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file)
        ),
    ):
        assert (await fetch_machine_key(AwsMachine.CONTAINER, time.time(), environ)).value.session_token
    wrong = container(faulty_upstream, AWS_CONTAINER_AUTHORIZATION_TOKEN="wrong")
    with pytest.raises(NoCredentialError, match=r"^no AWS key from 127.0.0.1: status 403; check that there is a role"):
        await fetch_machine_key(AwsMachine.CONTAINER, time.time(), wrong)


@pytest.mark.parametrize("answer", [response(200, b"[]"), json_response(200, {"AccessKeyId": 7}), response(200, b"")])
async def test_machine_that_gives_none(faulty_upstream: FaultyUpstream, answer: bytes) -> None:
    faulty_upstream.script = scripts.answer(answer)
    for machine in AwsMachine:
        environ = container(faulty_upstream, AWS_EC2_METADATA_SERVICE_ENDPOINT=faulty_upstream.url)
        with pytest.raises(NoCredentialError, match=r"^no AWS key from 127.0.0.1: "):
            await fetch_machine_key(machine, time.time(), environ)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "this node has neither"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/x"}, "is neither https:// nor an address of AWS"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "nonsense"}, "asks for a container's key, but in AWS_CONTAINER"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials"}, None),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[fd00:ec2::23]/v1/credentials?a=b"}, None),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "https://keys.example/x"}, None),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x"}, None),
    ],
)
def test_where_a_container_has_its_key(environ: dict[str, str], told: str | None) -> None:
    fault = machine_fault(AwsMachine.CONTAINER, environ)
    assert fault is None if told is None else told in (fault or "")
    assert machine_fault(AwsMachine.INSTANCE, environ) is None


def test_where_an_instance_has_its_key() -> None:
    fault = machine_fault(AwsMachine.INSTANCE, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "nonsense"})
    assert "asks for an instance's key, but in AWS_EC2_METADATA_SERVICE_ENDPOINT" in (fault or "")


async def test_role_of_a_machines_key(faulty_upstream: FaultyUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = AwsKeyIssuer()
    faulty_upstream.script = issuer
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", faulty_upstream.url)
    key = await fetched(role_at(faulty_upstream, credential_source="Ec2InstanceMetadata"))
    assert shown(key.value)[0] == "ASIA2"
    assert len(issuer.issued) == 2


# What secrets say of accounts.


def test_words_of_aws() -> None:
    role = read(role_arn=ROLE, web_identity_token_file=TOKEN_FILE, role_session_name="n-1").source
    assert role == AwsRole(
        arn=ROLE,
        source=WebIdentity(token_file=TOKEN_FILE),
        session_name="n-1",
        external_id="",
        sts_url="https://sts.eu-west-1.amazonaws.com:443",
    )
    assert read(credential_source="EcsContainer").source is AwsMachine.CONTAINER
    assert isinstance(read(**KEY).source, AwsKey)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"role_arn": ROLE}, "has no access_key_id"),
        ({"role_arn": "gateway", **KEY}, "has a role_arn that is not the ARN of a role"),
        ({"role_arn": ROLE, **KEY, "role_session_name": "a b"}, "has a role_session_name that AWS does not take"),
        ({"role_arn": ROLE, **KEY, "sts_url": "http://sts.example"}, "has no https:// URL as its sts_url"),
        ({"role_arn": ROLE, **KEY, "credential_source": "EcsContainer"}, "has more than one of access_key_id, "),
        ({"web_identity_token_file": TOKEN_FILE}, "has a web_identity_token_file and no role_arn"),
        ({"web_identity_token_file": "token", "role_arn": ROLE}, "that is no absolute path"),
        ({"credential_source": "Environment"}, "that is none of EcsContainer, Ec2InstanceMetadata"),
    ],
)
def test_account_that_cannot_be_used(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read(**fields)


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("sts.amazonaws.com", True),
        ("sts.us-gov-west-1.amazonaws.com", True),
        ("sts-fips.us-east-1.amazonaws.com", True),
        ("sts.cn-north-1.amazonaws.com.cn", True),
        ("vpce-0a-1b.sts.us-east-1.vpce.amazonaws.com", True),
        ("sts.s3.amazonaws.com", False),
        ("a.sts.eu-west-1.amazonaws.com", False),
        ("sts.eu-west-1.amazonaws.com.evil.example", False),
        ("evil.example", False),
    ],
)
def test_hosts_of_others_must_be_allowed(host: str, is_known: bool) -> None:
    account = read(role_arn=ROLE, **KEY, sts_url=f"https://{host}")
    assert foreign_issuer(account) == (None if is_known else host)
    assert isinstance(account.source, AwsRole)
    assert foreign_issuer(replace(account, source=account.source.source)) is None  # type: ignore[arg-type]
