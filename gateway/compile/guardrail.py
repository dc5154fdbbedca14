"""`Guardrail` messages to values."""

from collections.abc import Iterator

import re2
from janua.config.v1 import policy_pb2

from gateway.compile.durations import seconds
from gateway.config.guardrail import (
    FindData,
    FindRegex,
    GuardrailAction,
    GuardrailConfig,
    PersonalData,
    SizeRule,
    TextCheck,
    TextRule,
    WebhookConfig,
)

_ACTIONS = {
    policy_pb2.GUARDRAIL_ACTION_MASK: GuardrailAction.MASK,
    policy_pb2.GUARDRAIL_ACTION_DENY: GuardrailAction.DENY,
    policy_pb2.GUARDRAIL_ACTION_REPORT: GuardrailAction.REPORT,
}
_DATA = {
    policy_pb2.PERSONAL_DATA_EMAIL: PersonalData.EMAIL,
    policy_pb2.PERSONAL_DATA_CREDIT_CARD: PersonalData.CREDIT_CARD,
    policy_pb2.PERSONAL_DATA_IBAN: PersonalData.IBAN,
    policy_pb2.PERSONAL_DATA_PHONE: PersonalData.PHONE,
    policy_pb2.PERSONAL_DATA_IP_ADDRESS: PersonalData.IP_ADDRESS,
    policy_pb2.PERSONAL_DATA_API_KEY: PersonalData.API_KEY,
}


def compile_guardrail(spec: policy_pb2.Guardrail) -> GuardrailConfig:
    """The value of a message that the rules found nothing wrong with."""
    return GuardrailConfig(
        texts=tuple(rule for each in spec.rules for rule in _texts(each)),
        sizes=tuple(rule for each in spec.rules for rule in _sizes(each)),
        on_requests=not spec.on or policy_pb2.GUARDRAIL_SIDE_REQUEST in spec.on,
        on_answers=policy_pb2.GUARDRAIL_SIDE_RESPONSE in spec.on,
        window=spec.window_characters if spec.HasField("window_characters") else GuardrailConfig().window,
        webhook=_webhook(spec.webhook) if spec.HasField("webhook") else None,
    )


def _webhook(spec: policy_pb2.GuardrailWebhook) -> WebhookConfig:
    default = WebhookConfig(url=spec.url)
    return WebhookConfig(
        url=spec.url,
        timeout_s=seconds(spec, "timeout", default.timeout_s),
        fails_open=spec.on_failure == policy_pb2.GuardrailWebhook.ON_FAILURE_ALLOW,
        window=spec.window_characters if spec.HasField("window_characters") else default.window,
        egress_proxy=spec.egress_proxy,
    )


def _texts(spec: policy_pb2.GuardrailRule) -> Iterator[TextRule]:
    """A rule for each kind of data, so that each has its own name."""
    for value in spec.pii:
        kind = _DATA[value]
        yield _text_rule(spec, kind.name, FindData(kind=kind))
    if spec.regex:
        yield _text_rule(spec, "REGEX", FindRegex(pattern=spec.regex, compiled=re2.compile(spec.regex)))


def _text_rule(spec: policy_pb2.GuardrailRule, kind: str, check: TextCheck) -> TextRule:
    name = spec.name or kind
    replacement = spec.replacement if spec.HasField("replacement") else f"[{name}]"
    return TextRule(name=name, action=_ACTIONS[spec.action], check=check, replacement=replacement)


def _sizes(spec: policy_pb2.GuardrailRule) -> Iterator[SizeRule]:
    if spec.HasField("max_input_bytes"):
        yield SizeRule(
            name=spec.name or "MAX_INPUT_BYTES", action=_ACTIONS[spec.action], max_input_bytes=spec.max_input_bytes
        )
    if spec.HasField("max_messages"):
        yield SizeRule(name=spec.name or "MAX_MESSAGES", action=_ACTIONS[spec.action], max_messages=spec.max_messages)
