"""Texts that a service elsewhere judges: one question over HTTP, and what its answer means."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import structlog
from yarl import URL

from gateway.config.guardrail import WebhookConfig
from gateway.context import RequestContext
from gateway.errors import GuardrailDeniedError, UnavailableError
from gateway.transport.errors import TransportError
from gateway.transport.outgoing import Outgoing

# An answer may be so much larger than the question.
_ROOM_BYTES = 64 * 1024
_HEADERS = (("accept", "application/json"), ("content-type", "application/json"), ("user-agent", "janua"))
_RETRY_AFTER_S = 1.0

_log = structlog.get_logger("janua.guardrail")

Side = Literal["REQUEST", "RESPONSE"]


class Judgement(msgspec.Struct):
    """What the service answers. `texts` are there with MASK alone."""

    action: Literal["ALLOW", "MASK", "DENY", "REPORT"]
    texts: list[str] | None = None


_decoder = msgspec.json.Decoder(Judgement)


class NoJudgementError(Exception):
    """The service has not judged. The text says why, and shows nothing of what was asked or answered."""


class Webhook:
    """The service of one policy. `found` is told of each judgement but ALLOW, and with `FAILED` of each that is not
    given."""

    def __init__(self, policy: str, config: WebhookConfig, outgoing: Outgoing, found: Callable[[str], None]) -> None:
        self.config = config
        self._policy = policy
        self._url = URL(config.url)
        self._outgoing = outgoing
        self._found = found

    async def judge(
        self,
        context: RequestContext,
        side: Side,
        texts: Sequence[str],
        *,
        before: Sequence[str] = (),
        is_last: bool = True,
    ) -> Sequence[str]:
        """The texts as they may go on; the very same if nothing is to be changed. `before` is what went on of the same
        answer before.

        Raises `GuardrailDeniedError`, and `UnavailableError` if it is not judged and must be.
        """
        if not texts:
            return texts
        question = msgspec.json.encode(
            {
                "policy": self._policy,
                "side": side,
                "texts": texts,
                "before": before,
                "is_last": is_last,
                "request_id": context.request_id,
                **_asker(context),
            }
        )
        try:
            judgement = await self._ask(question, len(texts))
        except NoJudgementError as error:
            self._found("FAILED")
            _log.warning("texts were not judged", policy=self._policy, url=self.config.url, error=str(error))
            if self.config.fails_open:
                return texts
            text = f"the guardrail {self._policy} cannot judge this at present"
            raise UnavailableError(text, reason="GUARDRAIL_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S) from None
        if judgement.action != "ALLOW":
            self._found(judgement.action)
        if judgement.action == "DENY":
            raise GuardrailDeniedError(f"the guardrail {self._policy} does not let this pass")
        return texts if judgement.texts is None else judgement.texts

    async def _ask(self, question: bytes, number_of_texts: int) -> Judgement:
        timeout_s = self.config.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._post(question)
        except TimeoutError:
            raise NoJudgementError(f"no answer within {timeout_s:g} s") from None
        except TransportError as error:
            raise NoJudgementError(str(error)) from None
        try:
            judgement = _decoder.decode(answer)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise NoJudgementError("the answer is no judgement") from None
        if judgement.action == "MASK":
            if judgement.texts is None or len(judgement.texts) != number_of_texts:
                raise NoJudgementError("the answer has not as many texts as the question")
            return judgement
        return Judgement(judgement.action)

    async def _post(self, question: bytes) -> bytes:
        response = await self._outgoing.through(self.config.egress_proxy).send(
            "POST", self._url, headers=_HEADERS, body=question, connect_timeout_s=self.config.timeout_s
        )
        try:
            if response.status != 200:
                raise NoJudgementError(f"the answer has status {response.status}")
            return await response.read_all(2 * len(question) + _ROOM_BYTES)
        finally:
            response.close()


def asker(context: RequestContext) -> bytes:
    """What judgements depend on beside the texts."""
    return msgspec.json.encode(_asker(context))


def _asker(context: RequestContext) -> dict[str, Any]:
    return {
        "route": context.route,
        "model": context.model,
        "consumer": context.consumer_name,
        "groups": sorted(context.groups),
    }
