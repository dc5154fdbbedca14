"""When tokens are fetched: by a clock that the test puts forward, from an issuer that does what the test says."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from yarl import URL

from gateway.config.credential import EntraApp
from gateway.config.secret import SecretValue
from gateway.providers.access_token import AccessToken
from gateway.providers.fetching import NoCredentialError
from gateway.transport.messages import Body, Headers, HttpResponse

GRANT = EntraApp(
    client_id="app", client_secret=SecretValue("pw"), token_url="https://login.example/t/oauth2/v2.0/token", scope="s"
)


class Answer:
    """A whole answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.headers: Iterable[tuple[bytes, bytes]] = ()
        self._body = body

    def header(self, name: str) -> str | None:
        return None

    async def read(self) -> bytes:
        raise NotImplementedError

    async def read_all(self, limit: int) -> bytes:
        return self._body

    def abort(self, error: Exception) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Issuer:
    """Gives `t-1`, `t-2`, …, each good for an hour, while the gate is open; or refuses."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_refusing = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Headers,
        body: Body,
        connect_timeout_s: float,
        server_name: str | None = None,
    ) -> HttpResponse:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.is_refusing:
            return Answer(400, b'{"error": "invalid_client"}')
        return Answer(200, json.dumps({"access_token": f"t-{number}", "expires_in": 3600}).encode())

    async def close_when_idle(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Rig:
    """A token, its issuer and its clocks."""

    def __init__(self) -> None:
        self.now, self.wall = 1000.0, 1_900_000_000.0
        self.issuer = Issuer()
        self.token = AccessToken(GRANT, clock=lambda: self.now, wall_clock=lambda: self.wall)

    async def use(self) -> str:
        """What a request carries."""
        url = URL("https://api.example/")
        same, headers = await self.token.authorize("POST", url, [("a", "1")], b"", self.issuer)
        assert same is url
        first, (name, value) = headers
        assert (first, name) == (("a", "1"), "authorization")
        return value.removeprefix("Bearer ")

    async def settle(self) -> None:
        """Lets a fetch that is under way end."""
        if self.token._token._fetching is not None:
            await asyncio.wait({self.token._token._fetching})


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_one_token_serves_until_it_is_old(rig: Rig) -> None:
    assert await rig.use() == "t-1"
    rig.now += 3200
    assert await rig.use() == "t-1"
    assert rig.issuer.asked == 1


async def test_clock_that_is_set_makes_a_token_neither_older_nor_younger(rig: Rig) -> None:
    await rig.use()
    for by in (7200, -14_400):
        rig.wall += by
        assert await rig.use() == "t-1"
    assert rig.issuer.asked == 1
    rig.now += 3601
    assert await rig.use() == "t-2"


async def test_old_token_serves_while_a_new_one_is_fetched(rig: Rig) -> None:
    await rig.use()
    rig.now += 3400
    rig.issuer.gate.clear()
    assert [await rig.use() for _ in range(3)] == ["t-1"] * 3
    await asyncio.sleep(0)
    rig.issuer.gate.set()
    await rig.settle()
    assert await rig.use() == "t-2"
    assert rig.issuer.asked == 2


async def test_failed_renewal_is_tried_again_later_and_the_old_token_serves(rig: Rig) -> None:
    await rig.use()
    rig.issuer.is_refusing = True
    rig.now += 3400
    for asked in (2, 2, 3):
        assert await rig.use() == "t-1"
        await rig.settle()
        assert rig.issuer.asked == asked
        rig.now += 1.5
    rig.issuer.is_refusing = False
    rig.now += 60
    await rig.use()
    await rig.settle()
    assert await rig.use() == "t-4"


async def test_expired_token_is_not_sent(rig: Rig) -> None:
    await rig.use()
    rig.now += 3595
    assert await rig.use() == "t-2"


async def test_expired_token_is_not_sent_when_there_is_no_other(rig: Rig) -> None:
    await rig.use()
    rig.issuer.is_refusing = True
    rig.now += 3595
    with pytest.raises(NoCredentialError):
        await rig.use()


async def test_failures_come_after_ever_longer_pauses(rig: Rig) -> None:
    rig.issuer.is_refusing = True
    asked_at = []
    for _ in range(400):
        before = rig.issuer.asked
        with pytest.raises(
            NoCredentialError, match=r"^no access token from login.example: status 400 \(invalid_client\)"
        ):
            await rig.use()
        if rig.issuer.asked > before:
            asked_at.append(rig.now)
        rig.now += 0.5
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    rig.issuer.is_refusing = False
    rig.now += 60
    assert (await rig.use()).startswith("t-")


async def test_who_leaves_takes_nothing_from_the_others(rig: Rig) -> None:
    rig.issuer.gate.clear()
    users = [asyncio.create_task(rig.use()) for _ in range(5)]
    await asyncio.sleep(0.0)
    users[0].cancel()
    rig.issuer.gate.set()
    told: Sequence[str | BaseException] = await asyncio.gather(*users, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert told[1:] == ["t-1"] * 4
    assert rig.issuer.asked == 1


async def test_refused_token_is_fetched_anew_unless_it_is_young(rig: Rig) -> None:
    await rig.use()
    rig.token.refused()
    assert await rig.use() == "t-1"
    rig.now += 61
    rig.token.refused()
    rig.token.refused()
    assert await rig.use() == "t-2"
    rig.token.refused()
    assert await rig.use() == "t-2"


async def test_nothing_of_it_is_shown(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    token = await rig.use()
    rig.issuer.is_refusing = True
    rig.now += 3500
    await rig.use()
    await rig.settle()
    shown = f"{rig.token!r} {rig.token._token._value!r} {GRANT!r}" + "".join(capsys.readouterr())
    assert token not in shown
    assert "pw" not in shown
