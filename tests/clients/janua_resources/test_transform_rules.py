"""What changes to requests and answers can be asked for."""

from typing import Any

import pytest

from tests.clients.janua_resources.test_policy_rules import faults

REQUEST, ANSWER = "transform.request", "transform.response"


@pytest.mark.parametrize(("side", "place"), [("request", REQUEST), ("response", ANSWER)], ids=["request", "answer"])
@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "x-api-key", "cookie", "set-cookie", "connection", "TE", "transfer-encoding", "host",
        "content-length", "content-type", "accept-encoding", "x-request-id", "x-janua-route", "x-forwarded-for", "via",
        "grpc-timeout", "a-bin", "a b", "a:b", "", "a\r\nb", "x!a",
    ],
)  # fmt: skip
def test_headers_that_would_smuggle_cannot_be_set(side: str, place: str, name: str) -> None:
    ((field, message),) = faults({"transform": {side: {"set_headers": {name: "'1'"}}}})
    assert field == f"{place}.set_headers"
    assert "is not a header that can be set here" in message


@pytest.mark.parametrize(
    ("request_side", "field", "text"),
    [
        ({"set_headers": {"x-a": "1 +"}}, "set_headers", "the expression for 'x-a' is not an expression of CEL"),
        ({"set_headers": {"x-a": ""}}, "set_headers", "is empty"),
        ({"remove_headers": ["x-a", "Host"]}, "remove_headers[1]", "is not a header that can be removed here"),
        ({"set_body": {"model": "'m'"}}, "set_body", "the route was chosen by it"),
        ({"set_body": {"a": "1 +"}}, "set_body", "is not an expression of CEL"),
        ({"remove_body_fields": ["stream"]}, "remove_body_fields[0]", "the route was chosen by it"),
        ({"rename_body_fields": {"a": "stream"}}, "rename_body_fields", "the route was chosen by it"),
        ({"remove_body_fields": ["a..b"]}, "remove_body_fields[0]", "is not a path"),
        ({"remove_body_fields": [".".join("a" * 17)]}, "remove_body_fields[0]", "is not a path"),
        ({"clamp": {"max_tokens": {}}}, "clamp.max_tokens", "at least one of min and max"),
        ({"clamp": {"max_tokens": {"max": 0}}}, "clamp.max_tokens", "whole numbers, at least 1"),
        ({"clamp": {"n": {"max": 1.5}}}, "clamp.n", "whole numbers, at least 1"),
        ({"clamp": {"temperature": {"min": 2, "max": 1}}}, "clamp.temperature", "min must not be more than max"),
        ({"prepend_messages": [{"role": "tool", "content": "a"}]}, "prepend_messages[0].role", "must be one of system"),
        ({"append_messages": [{"content": "a"}]}, "append_messages[0].role", "must be one of system"),
    ],
)
def test_change_that_cannot_be_made_is_wrong(request_side: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults({"transform": {"request": request_side}})
    assert found == f"{REQUEST}.{field}"
    assert text in message


def test_model_of_an_answer_may_be_changed() -> None:
    assert faults({"transform": {"response": {"set_body": {"model": "'ours'"}, "remove_headers": ["server"]}}}) == []
