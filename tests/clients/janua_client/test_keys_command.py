"""`janua keys` against a real config server: keys are shown once, kept by digest, and no edit is lost."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
import typer
import yaml
from janua_client.cli import main
from janua_client.cli.app import build_app

from tests.clients.janua_client.cli_runner import Finished, janua, run_janua
from tests.support.processes import ConfigServer

CONSUMERS = {
    "consumers": [
        {
            "name": "alice",
            "groups": ["staff"],
            "labels": {"team": "search"},
            "jwt_subjects": ["alice@example"],
            "api_keys": [{"key_sha256": "a" * 64, "label": "old"}],
        }
    ]
}


@pytest.fixture
async def server(config_server: ConfigServer) -> str:
    """The address of a config server with one consumer, of the set `mine`."""
    done = await janua(
        "apply", "-f", "-", "--set", "mine", "--server", config_server.address, stdin=yaml.safe_dump(CONSUMERS)
    )
    assert done.code == 0, done.err
    return config_server.address


async def consumer(server: str, name: str = "alice") -> dict[str, Any]:
    done = await janua("get", "consumer", name, "-o", "json", "--server", server)
    found: dict[str, Any] = json.loads(done.out)["consumers"][0]
    return found


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


async def keys(server: str, *words: str) -> Finished:
    return await janua("keys", *words, "--server", server)


FIELDS = ("consumer", "key_sha256", "label", "expires", "made_by_server")


async def listed(server: str, name: str = "alice") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await keys(server, "list", name, "-o", "json")).out)
    return found


async def test_key_is_shown_once_and_kept_by_its_digest(server: str) -> None:
    done = await keys(server, "create", "alice", "--label", "laptop")

    assert done.code == 0, done.err
    (key,) = done.out.split()
    assert key.startswith("jk-")
    assert len(key) == 46
    assert key not in done.err
    assert f"digest {digest(key)[:12]}…, revision 2" in done.err
    assert await consumer(server) == CONSUMERS["consumers"][0], "the key stands beside it"
    shown = await keys(server, "list")
    assert key not in shown.out + shown.err
    assert digest(key)[:12] in shown.out


async def test_key_as_json(server: str) -> None:
    done = await keys(server, "create", "alice", "--expires", "90d", "-o", "json")
    made = json.loads(done.out)
    assert made["key_sha256"] == digest(made["key"])
    expires = datetime.fromisoformat(made["expires"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert (made["consumer"], made["label"], made["revision"]) == ("alice", "", 2)
    assert (await listed(server))[1] == {name: made[name] for name in FIELDS}


async def test_consumer_is_made_only_where_that_is_wanted(server: str) -> None:
    refused = await keys(server, "create", "alcie")
    assert (refused.code, refused.out) == (1, "")
    assert refused.errors == [
        "janua keys: there is no consumer 'alcie': `janua get consumers` lists those there are; --new makes it"
    ]
    done = await keys(server, "create", "bob", "--new")
    assert [each["key_sha256"] for each in await listed(server, "bob")] == [digest(done.out.strip())]
    again = await keys(server, "create", "bob", "--new")
    assert again.code == 0
    bad = await keys(server, "create", "Not A Name", "--new")
    assert (bad.code, bad.out) == (1, "")
    assert "name" in bad.err


async def test_rotation_overlaps(server: str) -> None:
    first = json.loads((await keys(server, "create", "alice", "--expires", "1h", "-o", "json")).out)
    done = await keys(server, "create", "alice", "--others-expire", "24h")
    third = await keys(server, "create", "alice", "--others-expire", "48h")
    of_file, soon, rotated, new = await listed(server)
    until = datetime.fromisoformat(rotated["expires"])
    assert rotated["key_sha256"] == digest(done.out.strip())
    assert abs(until - datetime.now(UTC) - timedelta(hours=48)) < timedelta(minutes=1)
    assert soon["expires"] == first["expires"]
    assert (new["key_sha256"], new["expires"]) == (digest(third.out.strip()), None)
    assert of_file["expires"] is None, "what stands in a file is the file's"


async def test_list(server: str) -> None:
    await keys(server, "create", "alice", "--expires", "90d", "--label", "laptop")
    done = await keys(server, "list", "alice")
    header, old, new = (line.split() for line in done.out.splitlines())
    assert header == ["CONSUMER", "DIGEST", "LABEL", "EXPIRES", "FROM"]
    assert old == ["alice", "a" * 12 + "…", "old", "never", "consumer"]
    assert new[2:] == ["laptop", "89d", "left", "made", *new[6:]]
    found = await listed(server)
    assert [each["label"] for each in found] == ["old", "laptop"]
    assert found[0] == {
        "consumer": "alice",
        "key_sha256": "a" * 64,
        "label": "old",
        "expires": None,
        "made_by_server": False,
    }
    assert (await keys(server, "list", "nobody")).code == 1


async def test_expired_keys_are_told(server: str) -> None:
    past = {"consumers": [{"name": "c", "api_keys": [{"key_sha256": "b" * 64, "expires": "2020-01-01T00:00:00Z"}]}]}
    await janua("apply", "-f", "-", "--server", server, stdin=yaml.safe_dump(past))
    assert (await keys(server, "list", "c")).out.split()[-2] == "expired"


async def test_revoke(server: str) -> None:
    key = (await keys(server, "create", "alice")).out.strip()
    done = await keys(server, "revoke", "alice", "aaaaaaa")
    assert done.out.splitlines() == ["revoked  aaaaaaaaaaaa… of consumer/alice", "revision 3"]
    assert "brings it back" in done.err
    assert "api_keys" not in await consumer(server)
    again = await keys(server, "revoke", "alice", "aaaaaaa")
    assert again.code == 1
    assert f"it has: {digest(key)[:12]}…" in again.err
    last = await keys(server, "revoke", "alice", digest(key), "-o", "json")
    assert json.loads(last.out) == {"consumer": "alice", "key_sha256": digest(key), "revision": 4}
    assert await listed(server) == []
    assert (await keys(server, "revoke", "nobody", "aaaaaaa")).code == 1


async def test_key_given_for_a_digest_is_not_repeated(server: str) -> None:
    key = (await keys(server, "create", "alice")).out.strip()
    done = await keys(server, "revoke", "alice", key)
    assert done.code == 2
    assert key not in done.err


async def test_edits_at_the_same_time_lose_nothing(server: str) -> None:
    done = await asyncio.gather(*(run(server, number) for number in range(6)))
    made = {digest(out.strip()) for out in done}
    assert len(made) == 6
    assert {each["key_sha256"] for each in await listed(server)} == {"a" * 64, *made}


async def run(server: str, number: int) -> str:
    """A process of its own: those that run in this one share its standard output."""
    done = await run_janua("keys", "create", "alice", "--label", str(number), "--server", server)
    assert done.code == 0, done.err
    return done.out


async def test_without_a_server_the_entry_is_printed_for_a_file() -> None:
    done = await janua("keys", "create", "bob", "--offline", "--expires", "1h", "--server", "127.0.0.1:1")
    assert done.code == 0
    (found,) = yaml.safe_load(done.err.partition("for a file:\n")[2])["consumers"]
    assert found["name"] == "bob"
    assert found["api_keys"][0]["key_sha256"] == digest(done.out.strip())
    both = await janua("keys", "create", "bob", "--offline", "--others-expire", "1h")
    assert (both.code, both.out) == (2, "")


@pytest.mark.parametrize("text", ["90", "0d", "-1d", "d", "1.5h", "99999999d", "1w"])
async def test_bad_times_are_wrong_usage(text: str) -> None:
    for option in ("--expires", "--others-expire"):
        done = await janua("keys", "create", "bob", f"{option}={text}", "--offline")
        assert (done.code, done.out) == (2, "")
        assert f"{option}: '{text}' is not a time" in done.err


def test_every_option_is_a_variable_too_and_every_command_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    group: Any = typer.main.get_command(build_app(["keys"]))
    commands = group.commands["keys"].commands
    assert list(commands) == ["create", "list", "revoke"]
    for name, command in commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert str(parameter.envvar).startswith("JANUA_"), parameter.name
                assert parameter.help, parameter.name
        assert main(["keys", name, "--help"]) == 0
        assert f"janua keys {name}" in capsys.readouterr().out.partition("Examples:")[2]
