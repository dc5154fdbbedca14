"""What the pages on features show is true: their configuration is valid, and they name all that there is."""

import re
from pathlib import Path

import pytest
from janua.config.v1.service_pb2 import Feature, ModelPrice
from janua_resources import documents, field_rules, rules

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["costs.md", "unsupported-features.md"])
def test_the_configuration_is_valid(page: str) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    messages = [located.message for located in documents.parse(text, source=page).resources]
    assert messages
    for message in messages:
        assert [*field_rules.check_fields(message), *rules.check(message)] == []


def test_every_feature_and_every_price_is_told() -> None:
    features = {name.removeprefix("FEATURE_") for name, number in Feature.items() if number}
    assert features <= set(re.findall(r"`([A-Z_]+)`", (DOCS / "unsupported-features.md").read_text()))
    prices = {field.name for field in ModelPrice.DESCRIPTOR.fields}
    assert prices <= set(re.findall(r"`([a-z_]+)`", (DOCS / "costs.md").read_text()))
