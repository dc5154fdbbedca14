"""In which order policies change requests and answers."""

from typing import Any

from gateway.config.guardrail import GuardrailConfig, PersonalData
from gateway.config.transform import BodyEditsConfig, ConversationEditsConfig, HeaderEditsConfig, TransformConfig
from gateway.filters.guardrail import Guardrail
from gateway.filters.phases import Filters
from gateway.filters.transform import Transform
from gateway.operations.inference import TypedChat
from gateway.telemetry.metrics import Metrics
from gateway.transport.outgoing import Outgoing
from gateway.types import ChatRequest, Message, Role, TextPart
from tests.gateway.filters.guarding import data_rule
from tests.gateway.filters.requests import context


def said(text: str) -> Message:
    return Message(role=Role.USER, content=(TextPart(text=text),))


def saying(name: str, text: str) -> Transform:
    edits = ConversationEditsConfig(appended=(said(text),))
    return Transform(name, TransformConfig(conversation=edits))


def masking() -> Guardrail:
    return Guardrail(
        "g", GuardrailConfig(texts=(data_rule(PersonalData.EMAIL),), on_answers=True), Metrics(), Outgoing()
    )


async def test_guardrails_come_before_transforms_and_others_in_their_order() -> None:
    filters = Filters.of([saying("one", "ann@a.com"), masking(), saying("two", "bob@a.com")])
    asked = TypedChat(ChatRequest(model="m", messages=(said("eve@a.com"),)), is_streaming=False)
    edited = await filters.edit_request(context(), asked)
    assert edited.request.messages == (said("[EMAIL]"), said("ann@a.com"), said("bob@a.com"))


def renaming(name: str, source: str, target: str) -> Transform:
    body = BodyEditsConfig(renamed=(((source,), (target,)),))
    headers = HeaderEditsConfig(set=(("x-who", f"'{name}'"),))
    return Transform(name, TransformConfig(answer_body=body, answer_headers=headers))


def test_answers_are_changed_for_the_service_first() -> None:
    asked = context()
    Filters.of([renaming("route", "b", "c"), masking(), renaming("route-too", "c", "d")]).edit_answer(asked)
    Filters.of([renaming("service", "a", "b")]).edit_answer(asked)
    edits = asked.answer_edits
    assert edits is not None
    body: dict[str, Any] = {"a": 1}
    for edit in edits.json:
        edit(body)
    assert body == {"d": 1}
    assert edits.headers.apply([]) == [(b"x-who", b"route-too")]
    assert len(edits.events) == 1
