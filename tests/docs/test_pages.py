"""What the pages on features show is true: their configuration is valid, and they name all that there is."""

import re
from pathlib import Path

import pytest
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.service_pb2 import Feature, ModelPrice
from janua_resources import documents, field_rules, rules

from tests.docs.fenced import blocks

DOCS = Path(__file__).parents[2] / "docs"
POLICY_PAGES = [path for path in (DOCS / "policies").glob("*.md") if path.name != "README.md"]


@pytest.mark.parametrize(
    "page", ["costs.md", "unsupported-features.md", *map(str, sorted(path.relative_to(DOCS) for path in POLICY_PAGES))]
)
def test_the_configuration_is_valid(page: str) -> None:
    (text,) = blocks(DOCS / page, "yaml")
    messages = [located.message for located in documents.parse(text, source=page).resources]
    assert messages
    for message in messages:
        assert [*field_rules.check_fields(message), *rules.check(message)] == []


def test_every_feature_and_every_price_is_told() -> None:
    features = {name.removeprefix("FEATURE_") for name, number in Feature.items() if number}
    assert features <= set(re.findall(r"`([A-Z_]+)`", (DOCS / "unsupported-features.md").read_text()))
    prices = {field.name for field in ModelPrice.DESCRIPTOR.fields}
    assert prices <= set(re.findall(r"`([a-z_]+)`", (DOCS / "costs.md").read_text()))


def test_every_kind_of_policy_has_a_page_in_the_list() -> None:
    listed = (DOCS / "policies" / "README.md").read_text()
    for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields:
        page = f"{field.name.replace('_', '-')}.md"
        assert (DOCS / "policies" / page).exists()
        assert f"| `{field.name}` |" in listed
        assert f"({page})" in listed
