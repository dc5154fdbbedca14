"""Hard cases, made by hand, in every direction: nothing that is said is lost without a word.

All that must arrive begins with `say`, and numbers that must arrive are longer than two digits or have a fraction.
"""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT, OPENAI_CHAT
from tests.gateway.schemas import golden_cases as golden
from tests.gateway.schemas.carried_meaning import answered
from tests.gateway.schemas.dialect_streams import decoded, streamed

REQUESTS = [(case, target) for case in golden.cases(".json") for target in golden.others(case, golden.BACKENDS)]
ANSWERS = [(case, client) for case in golden.cases(".sse") for client in golden.others(case, golden.CLIENTS)]

# What is left out by some, as docs/translation.md says: thoughts and signatures that nobody but their maker takes back,
# and numbers that become others.
_ELSEWHERE = ("anthropic_messages", "gemini_generate_content", "cohere_chat", "ollama_chat")
_SIGNATURES = {"saysignature1", "saysignature2"}
LEFT_OUT: Mapping[str, Mapping[str, set[str]]] = {
    "anthropic_messages/thoughts": {
        "openai_chat": {"2048"},
        "openai_responses": {"2048", *_SIGNATURES},
        "cohere_chat": _SIGNATURES,
        "ollama_chat": {"2048", *_SIGNATURES},
    },
    "gemini_generate_content/calls_without_ids": {
        "openai_responses": {"saysignature"},
        "anthropic_messages": {"saysignature", "saythought"},
        "cohere_chat": {"saysignature"},
        "ollama_chat": {"saysignature"},
        "bedrock_converse": {"saysignature", "saythought"},
    },
    "gemini_generate_content/little_thought": {
        name: {"512"} for name in golden.BACKENDS if name not in ("gemini_generate_content", "cohere_chat")
    },
    "openai_responses/thought": {"cohere_chat": {"sayencrypted"}, "ollama_chat": {"sayencrypted"}},
    "ollama_chat/calls_and_pictures": {"anthropic_messages": {"saythought"}, "bedrock_converse": {"saythought"}},
    # The Gemini API takes no names of files.
    "openai_chat/sound_and_file": {"gemini_generate_content": {"saypaperpdf"}},
    "anthropic_messages/search_result": {"gemini_generate_content": {"saytitle"}},
    "cohere_chat/documents": {"gemini_generate_content": {"sayid"}},
    # The schema of an answer has a name in OpenAI's dialects and Bedrock's alone.
    "openai_chat/structured": {name: {"sayperson"} for name in _ELSEWHERE},
    "openai_responses/structured": {name: {"sayperson"} for name in _ELSEWHERE},
}


def ids(pair: tuple[str, ChatDialect]) -> str:
    return f"{pair[0]}-to-{pair[1].name}"


def leaves(value: Any) -> Iterator[str]:
    """All names and values, with what is base64 or JSON in them read too."""
    match value:
        case dict():
            for name, each in value.items():
                yield name
                yield from leaves(each)
        case list():
            for each in value:
                yield from leaves(each)
        case str():
            yield value
            yield from _hidden(value.rpartition(",")[2])
        case int() | float() if not isinstance(value, bool):
            yield str(value)


def _hidden(text: str) -> Iterator[str]:
    with contextlib.suppress(binascii.Error, ValueError):
        yield base64.b64decode(text, validate=True).decode()


def words(value: Any) -> set[str]:
    """What of the leaves must arrive, by its letters and digits alone: some dialects allow no others in names."""
    found = set()
    for leaf in leaves(value):
        plain = re.sub(r"[^a-z0-9]", "", leaf.lower())
        if plain.startswith("say") or re.fullmatch(r"\d{3,}|\d*\.\d+", leaf):
            found.add(plain)
    return found


@pytest.mark.parametrize("pair", REQUESTS, ids=ids)
def test_request(pair: tuple[str, ChatDialect]) -> None:
    case, target = pair
    refused = json.loads((golden.FOLDER / f"{case}.refused.json").read_bytes())
    if target.name in refused:
        with pytest.raises(InvalidRequestError) as caught:
            golden.translated(case, target)
        assert caught.value.param == refused[target.name]
        golden.translated(case, target, drop=True)
        return
    body = golden.translated(case, target)
    assert body == json.loads((golden.FOLDER / f"{case}.{target.name}.json").read_bytes())
    arrived = "\n".join(re.sub(r"[^a-z0-9]", "", leaf.lower()) for leaf in leaves(body))
    lost = {word for word in words(golden.asked(case)) if word not in arrived}
    assert lost == LEFT_OUT.get(case, {}).get(target.name, set())


@pytest.mark.parametrize("pair", ANSWERS, ids=ids)
def test_answer(pair: tuple[str, ChatDialect]) -> None:
    case, client = pair
    data = golden.told(case, client)
    assert data == (golden.FOLDER / f"{case}.{client.name}.sse").read_bytes()


@pytest.mark.parametrize("case", golden.cases(".sse"))
def test_answer_does_not_hang_on_how_it_is_cut(case: str) -> None:
    assert golden.is_same_however_it_is_cut(case)


@pytest.mark.parametrize("pair", ANSWERS, ids=ids)
def test_client_reads_what_the_backend_said(pair: tuple[str, ChatDialect]) -> None:
    case, client = pair
    before, usage = answered(event for group in golden.groups(case) for event in group)
    after, usage_after = answered(decoded(client, [streamed(client, golden.groups(case))]))
    assert [(each.text, each.calls) for each in after] == [(each.text, each.calls) for each in before[: len(after)]]
    assert len(after) == (len(before) if client in (OPENAI_CHAT, GEMINI) else 1)
    assert usage_after == usage


def test_there_are_cases_of_every_client() -> None:
    told_in = {case.partition("/")[0] for case in golden.cases(".json")}
    assert told_in == set(golden.CLIENTS)
    assert {ANTHROPIC_MESSAGES.name, OPENAI_CHAT.name, GEMINI.name} <= {
        case.partition("/")[0] for case in golden.cases(".sse")
    }
    assert OLLAMA_CHAT.name in told_in
