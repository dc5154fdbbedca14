"""When a `guardrail` policy makes sense."""

from collections.abc import Iterator
from typing import Final

from janua.config.v1.policy_pb2 import (
    GUARDRAIL_ACTION_DENY,
    GUARDRAIL_ACTION_MASK,
    GUARDRAIL_ACTION_REPORT,
    GUARDRAIL_SIDE_REQUEST,
    GUARDRAIL_SIDE_RESPONSE,
    Guardrail,
    GuardrailRule,
    GuardrailWebhook,
    PersonalData,
)

from janua_resources.addresses import parse_url
from janua_resources.egress_rules import check_egress_proxy
from janua_resources.regexes import compile_regex
from janua_resources.violations import Problem

_CHECKS: Final = ("pii", "regex", "max_input_bytes", "max_messages")
_SIZES: Final = ("max_input_bytes", "max_messages")
_ACTIONS: Final = (GUARDRAIL_ACTION_MASK, GUARDRAIL_ACTION_DENY, GUARDRAIL_ACTION_REPORT)
_KINDS: Final = {number: name.removeprefix("PERSONAL_DATA_") for name, number in PersonalData.items() if number}


def check_guardrail(spec: Guardrail) -> Iterator[Problem]:
    """What is wrong with it."""
    is_for_requests = not spec.on or GUARDRAIL_SIDE_REQUEST in spec.on
    for index, side in enumerate(spec.on):
        if side not in (GUARDRAIL_SIDE_REQUEST, GUARDRAIL_SIDE_RESPONSE):
            yield Problem(field=f"guardrail.on[{index}]", message="must be REQUEST or RESPONSE")
    for index, rule in enumerate(spec.rules):
        yield from _rule(rule, f"guardrail.rules[{index}]", is_for_requests=is_for_requests)
    if not spec.rules and not spec.HasField("webhook"):
        yield Problem(field="guardrail", message="needs at least one of rules and webhook")
    if spec.HasField("webhook"):
        yield from _webhook(spec.webhook)
    if spec.HasField("window_characters") and not any(rule.regex for rule in spec.rules):
        text = "has no effect without a rule with a regex; leave it out"
        yield Problem(field="guardrail.window_characters", message=text)


def _webhook(spec: GuardrailWebhook) -> Iterator[Problem]:
    try:
        parse_url(spec.url)
    except ValueError as error:
        yield Problem(field="guardrail.webhook.url", message=str(error))
    yield from check_egress_proxy(spec.egress_proxy, "guardrail.webhook.egress_proxy")


def _rule(rule: GuardrailRule, place: str, *, is_for_requests: bool) -> Iterator[Problem]:
    given = {descriptor.name for descriptor, _ in rule.ListFields()}
    checks = [name for name in _CHECKS if name in given]
    if len(checks) != 1:
        yield Problem(field=place, message=f"needs exactly one of {', '.join(_CHECKS)}")
        return
    if rule.action not in _ACTIONS:
        yield Problem(field=f"{place}.action", message="must be MASK, DENY or REPORT")
    for index, kind in enumerate(rule.pii):
        if kind not in _KINDS:
            yield Problem(field=f"{place}.pii[{index}]", message=f"must be one of {', '.join(_KINDS.values())}")
    if checks[0] in _SIZES:
        if rule.action == GUARDRAIL_ACTION_MASK:
            yield Problem(field=f"{place}.action", message=f"cannot be MASK with {checks[0]}: DENY or REPORT")
        if not is_for_requests:
            text = "is for requests, which this guardrail is not on"
            yield Problem(field=f"{place}.{checks[0]}", message=text)
    if "replacement" in given and rule.action != GUARDRAIL_ACTION_MASK:
        yield Problem(field=f"{place}.replacement", message="has no effect without the action MASK; leave it out")
    if rule.regex:
        yield from _regex(rule.regex, f"{place}.regex")


def _regex(pattern: str, field: str) -> Iterator[Problem]:
    try:
        compiled = compile_regex(pattern)
    except ValueError as error:
        yield Problem(field=field, message=str(error))
        return
    if compiled.fullmatch("") is not None:
        yield Problem(field=field, message="matches nothing at all, and so would be found everywhere")
