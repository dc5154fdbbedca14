"""Rules for what is said, to models and by them: the `guardrail` policy."""

from collections.abc import Callable, Sequence

from gateway.config.guardrail import GuardrailAction, GuardrailConfig, SizeRule
from gateway.context import RequestContext
from gateway.edits import AnswerEdits, EventEditor, JudgingEditor
from gateway.errors import InvalidRequestError
from gateway.filters.guarded_events import GuardedEvents
from gateway.filters.guarded_texts import input_bytes, masked_request
from gateway.filters.judged_events import JudgedEvents
from gateway.filters.judged_texts import CollectedTexts, JudgedTexts
from gateway.filters.phases import AnswerEditor, R, RequestEditor
from gateway.filters.text_rules import TextRules
from gateway.filters.webhook import Webhook, asker
from gateway.telemetry.metrics import Metrics
from gateway.transport.outgoing import Outgoing
from gateway.types import ChatRequest, Operation, WholeRequest

_WITHOUT_WORDS = frozenset({Operation.EMBEDDINGS, Operation.RERANK, Operation.COUNT_TOKENS})


class Guardrail(RequestEditor, AnswerEditor):
    """Masks, denies and counts what the rules of one policy find. What cannot be looked into does not pass."""

    is_guard = True

    def __init__(self, name: str, config: GuardrailConfig, metrics: Metrics, outgoing: Outgoing) -> None:
        self._name = name
        self._config = config
        self._metrics = metrics
        self._rules = TextRules(name, config, self._found)
        self._webhook: Webhook | None = None
        if config.webhook is not None:
            self._webhook = Webhook(name, config.webhook, outgoing, self._judged)

    async def edit_request(self, context: RequestContext, request: R) -> R:
        """The request with what is masked. Raises `GuardrailDeniedError`, and `UnavailableError` for one that has to be
        judged and is not."""
        if not self._config.on_requests:
            return request
        said = request.canonical()
        if said is None:
            raise self._unsupported()
        for rule in self._config.sizes:
            if _is_too_large(rule, said):
                self._found(rule.name, rule.action)
                if rule.action is GuardrailAction.DENY:
                    raise self._rules.denied(rule.name)
        if self._config.texts:
            said = masked_request(self._rules, said)
        if self._webhook is not None:
            said = await _judged_request(self._webhook, context, said)
        return request.with_canonical(said)

    def request_shape(self, context: RequestContext) -> bytes:
        """Who asks, if somebody elsewhere judges."""
        return b"" if self._webhook is None else asker(context)

    def answer_shape(self, context: RequestContext) -> bytes:
        """The same."""
        return self.request_shape(context) if self._config.on_answers else b""

    def edit_answer(self, context: RequestContext) -> AnswerEdits:
        """What becomes of the events of the answer. Vectors, ranks and counts say nothing."""
        if not self._config.on_answers or context.operation in _WITHOUT_WORDS:
            return AnswerEdits()
        if context.operation is not Operation.CHAT:
            raise self._unsupported()
        editors: list[Callable[[bool], EventEditor | JudgingEditor]] = []
        if self._config.texts:
            editors.append(lambda is_whole: GuardedEvents(self._rules, is_whole=is_whole))
        if (webhook := self._webhook) is not None:
            editors.append(lambda is_whole: _judged_events(webhook, context, is_whole=is_whole))
        return AnswerEdits(events=tuple(editors), is_judged=webhook is not None)

    def _found(self, rule: str, action: GuardrailAction) -> None:
        self._metrics.guardrail(self._name, rule, action.name)

    def _judged(self, action: str) -> None:
        self._metrics.guardrail(self._name, "WEBHOOK", action)

    def _unsupported(self) -> InvalidRequestError:
        text = f"the guardrail {self._name} can look into conversations, embeddings and rankings only"
        return InvalidRequestError(text, reason="GUARDRAIL_UNSUPPORTED")


async def _judged_request(webhook: Webhook, context: RequestContext, said: WholeRequest) -> WholeRequest:
    collected = CollectedTexts()
    masked_request(collected, said)
    judged = await webhook.judge(context, "REQUEST", collected.texts)
    return said if judged is collected.texts else masked_request(JudgedTexts(judged), said)


def _judged_events(webhook: Webhook, context: RequestContext, *, is_whole: bool) -> JudgedEvents:
    async def judge(texts: Sequence[str], before: Sequence[str], *, is_last: bool) -> Sequence[str]:
        return await webhook.judge(context, "RESPONSE", texts, before=before, is_last=is_last)

    return JudgedEvents(judge, None if is_whole else webhook.config.window)


def _is_too_large(rule: SizeRule, request: WholeRequest) -> bool:
    if rule.max_input_bytes is not None and input_bytes(request) > rule.max_input_bytes:
        return True
    if rule.max_messages is None or not isinstance(request, ChatRequest):
        return False
    return len(request.messages) > rule.max_messages
