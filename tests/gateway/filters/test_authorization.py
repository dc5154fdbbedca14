"""Who may ask for what: lists of consumers, groups and models, and expressions."""

import pytest

from gateway.config.snapshot import AllowedRequests, AuthorizationConfig, ConsumerConfig
from gateway.errors import PermissionDeniedError
from gateway.filters.authorization import Authorization
from tests.gateway.filters.requests import context

ANN = ConsumerConfig(name="ann", groups=frozenset({"staff", "search"}), labels={"team": "search"})


def allows(
    *allow: AllowedRequests, expression: str = "", consumer: ConsumerConfig | None = ANN, **changes: object
) -> bool:
    asked = context(consumer=consumer, **changes)
    try:
        Authorization(AuthorizationConfig(allow=allow, expression=expression)).authorize(asked)
    except PermissionDeniedError:
        return False
    return True


def allowed(consumers: str = "", groups: str = "", models: str = "") -> AllowedRequests:
    return AllowedRequests(
        consumers=frozenset(consumers.split()), groups=frozenset(groups.split()), models=tuple(models.split())
    )


@pytest.mark.parametrize(
    ("entry", "model", "expected"),
    [
        (allowed(consumers="ann bob"), "m", True),
        (allowed(consumers="bob"), "m", False),
        (allowed(groups="guests staff"), "m", True),
        (allowed(groups="guests"), "m", False),
        (allowed(models="gemma-*"), "gemma-3", True),
        (allowed(models="gemma-*"), "gemma", False),
        (allowed(models="gemma"), "gemma-3", False),
        (allowed(models="*"), "anything", True),
        (allowed(models="*"), "", False),
        (allowed(groups="staff", models="gemma"), "gemma", True),
        (allowed(groups="staff", models="gemma"), "other", False),
        (allowed(consumers="ann", groups="guests"), "m", False),
    ],
)
def test_every_condition_of_an_entry_must_hold(entry: AllowedRequests, model: str, expected: bool) -> None:
    assert allows(entry, model=model) is expected


def test_one_entry_is_enough() -> None:
    assert allows(allowed(consumers="bob"), allowed(groups="staff"))


def test_anonymous_callers_are_in_no_group_and_no_consumer() -> None:
    assert not allows(allowed(groups="staff"), consumer=None)
    assert not allows(allowed(consumers="ann"), consumer=None)
    assert allows(allowed(models="m"), consumer=None)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('request.headers["x-team"] in consumer.groups', True),
        ('request.headers["x-none"] == "a"', False),
        ('consumer.labels.team == "search" && request.model == "m"', True),
        ('request.client_address.startsWith("192.0.2.")', True),
        ('request.query["beta"] == "1" && request.method == "POST"', True),
        ("1 + 'a' == 2", False),
        ("'yes'", False),
        ("unknown.name", False),
        ("1 / size(request.headers['x-team'].substring(6)) == 1", False),
        ("1 % 0 == 1", False),
        ("consumer.groups[7] == 'staff'", False),
        ("9223372036854775807 + 1 > 0", False),
        ('"authorization" in request.headers', False),
        ('route == "r" && request.operation == "chat" && !request.is_streaming', True),
    ],
)
def test_expression_must_be_true(expression: str, expected: bool) -> None:
    headers = {b"x-team": b"search", b"authorization": b"Bearer sk-1"}
    assert allows(expression=expression, headers=headers, query_string=b"beta=1", route="r") is expected


def test_list_and_expression_must_agree() -> None:
    assert allows(allowed(groups="staff"), expression="true")
    assert not allows(allowed(groups="staff"), expression="false")
    assert not allows(allowed(groups="guests"), expression="true")


def test_refusal_says_who_and_what() -> None:
    with pytest.raises(PermissionDeniedError, match="consumer 'ann' may not use the model 'm'"):
        Authorization(AuthorizationConfig(allow=(allowed(groups="guests"),))).authorize(context(consumer=ANN))
