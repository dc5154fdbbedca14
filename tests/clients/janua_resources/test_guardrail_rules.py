"""Which guardrails make sense."""

from typing import Any

import pytest

from tests.clients.janua_resources.test_policy_rules import faults

EMAIL = {"pii": ["EMAIL"], "action": "MASK"}


@pytest.mark.parametrize(
    ("rule", "field", "text"),
    [
        ({"action": "DENY"}, "", "needs exactly one of pii, regex"),
        ({"pii": ["EMAIL"], "regex": "a", "action": "DENY"}, "", "needs exactly one of pii, regex"),
        ({"pii": ["EMAIL"]}, ".action", "must be MASK, DENY or REPORT"),
        ({"regex": "(", "action": "DENY"}, ".regex", "is not an RE2 expression"),
        ({"regex": "(?=a)", "action": "DENY"}, ".regex", "is not an RE2 expression"),
        ({"regex": "a*", "action": "MASK"}, ".regex", "matches nothing at all"),
        ({"max_messages": 3, "action": "MASK"}, ".action", "cannot be MASK with max_messages"),
        ({"regex": "a", "action": "DENY", "replacement": "b"}, ".replacement", "has no effect without"),
        ({"pii": ["PERSONAL_DATA_UNSPECIFIED"], "action": "DENY"}, ".pii[0]", "must be one of EMAIL, CREDIT_CARD"),
    ],
)
def test_rule_that_cannot_work_is_wrong(rule: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults({"guardrail": {"rules": [EMAIL, rule]}})
    assert found == f"guardrail.rules[1]{field}"
    assert text in message


@pytest.mark.parametrize(
    ("policy", "field", "text"),
    [
        ({"rules": [EMAIL], "window_characters": 64}, "window_characters", "has no effect without a rule with a regex"),
        ({"rules": [EMAIL], "on": ["GUARDRAIL_SIDE_UNSPECIFIED"]}, "on[0]", "must be REQUEST or RESPONSE"),
        (
            {"rules": [{"max_messages": 3, "action": "DENY"}], "on": ["RESPONSE"]},
            "rules[0].max_messages",
            "is for requests",
        ),
    ],
)
def test_guardrail_that_cannot_work_is_wrong(policy: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults({"guardrail": policy})
    assert found == f"guardrail.{field}"
    assert text in message


def test_every_kind_of_rule_may_stand_beside_others() -> None:
    rules = [EMAIL, {"regex": "a+", "action": "REPORT"}, {"max_input_bytes": 0, "action": "DENY", "name": "SIZE"}]
    assert faults({"guardrail": {"rules": rules, "on": ["REQUEST", "RESPONSE"], "window_characters": 16}}) == []
