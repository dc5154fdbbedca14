"""Rules for what is said, to models and by them: the `guardrail` policy."""

from gateway.config.guardrail import GuardrailAction, GuardrailConfig, SizeRule
from gateway.context import RequestContext
from gateway.edits import AnswerEdits, EventEditor
from gateway.errors import InvalidRequestError
from gateway.filters.guarded_events import GuardedEvents
from gateway.filters.guarded_texts import input_bytes, masked_request
from gateway.filters.phases import AnswerEditor, R, RequestEditor
from gateway.filters.text_rules import TextRules
from gateway.telemetry.metrics import Metrics
from gateway.types import ChatRequest, Operation, WholeRequest

_WITHOUT_WORDS = frozenset({Operation.EMBEDDINGS, Operation.RERANK, Operation.COUNT_TOKENS})


class Guardrail(RequestEditor, AnswerEditor):
    """Masks, denies and counts what the rules of one policy find. What cannot be looked into does not pass."""

    is_guard = True

    def __init__(self, name: str, config: GuardrailConfig, metrics: Metrics) -> None:
        self._name = name
        self._config = config
        self._metrics = metrics
        self._rules = TextRules(name, config, self._found)

    def edit_request(self, context: RequestContext, request: R) -> R:
        """The request with what is masked. Raises `GuardrailDeniedError`."""
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
        return request.with_canonical(masked_request(self._rules, said) if self._config.texts else said)

    def edit_answer(self, context: RequestContext) -> AnswerEdits:
        """What becomes of the events of the answer. Vectors, ranks and counts say nothing."""
        if not self._config.on_answers or context.operation in _WITHOUT_WORDS:
            return AnswerEdits()
        if context.operation is not Operation.CHAT:
            raise self._unsupported()
        return AnswerEdits(events=(self._guarded_events,))

    def _guarded_events(self, is_whole: bool) -> EventEditor:
        return GuardedEvents(self._rules, is_whole=is_whole)

    def _found(self, rule: str, action: GuardrailAction) -> None:
        self._metrics.guardrail(self._name, rule, action.name)

    def _unsupported(self) -> InvalidRequestError:
        text = f"the guardrail {self._name} can look into conversations, embeddings and rankings only"
        return InvalidRequestError(text, reason="GUARDRAIL_UNSUPPORTED")


def _is_too_large(rule: SizeRule, request: WholeRequest) -> bool:
    if rule.max_input_bytes is not None and input_bytes(request) > rule.max_input_bytes:
        return True
    if rule.max_messages is None or not isinstance(request, ChatRequest):
        return False
    return len(request.messages) > rule.max_messages
