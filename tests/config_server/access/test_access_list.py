"""The file of principals: what it may say, and who is found by which credentials."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from config_server.access.access_list import AccessError, AccessList, entry_text
from config_server.access.principal import Principal, Role
from tests.config_server.access.principals import entry, sha256

DIGEST = sha256("t")


def parse(*entries: dict[str, Any]) -> AccessList:
    return AccessList.parse(yaml.safe_dump(list(entries)))


def test_a_principal_is_found_by_each_of_its_tokens_and_certificates() -> None:
    access = parse(
        entry("editor", "ci", token_sha256=[sha256("old"), sha256("new")]),
        {"name": "edge", "role": "node", "certificates": ["edge.example", "spiffe://fleet/edge"]},
    )
    for token in ("old", "new"):
        found = access.find(token, [])
        assert found is not None
        assert (found.name, found.role) == ("ci", Role.EDITOR)
    assert access.find("older", []) is None
    assert access.find(None, []) is None
    found = access.find(None, ["other.example", "spiffe://fleet/edge"])
    assert found is not None
    assert found.name == "edge"


def test_a_wrong_token_is_not_made_up_for_by_a_certificate() -> None:
    access = parse({"name": "edge", "role": "admin", "certificates": ["edge.example"]})
    assert access.find("guessed", ["edge.example"]) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names nobody"),
        ("[]", "names nobody"),
        ("name: a", "array"),
        ("- {name: a", "no YAML"),
        (f"- {{role: admin, token_sha256: [{DIGEST}]}}", "`name`"),
        (f"- {{name: a, token_sha256: [{DIGEST}]}}", "`role`"),
        (f"- {{name: a, role: king, token_sha256: [{DIGEST}]}}", "'king' - at `$[0].role`"),
        (f"- {{name: a, role: admin, token_sha256: [{DIGEST}], token: x}}", "`token`"),
        (f"- {{name: ' ', role: admin, token_sha256: [{DIGEST}]}}", "$[0].name"),
        ("- {name: a, role: admin, token_sha256: [secret]}", "$[0].token_sha256[0]"),
        ("- {name: a, role: admin}", "no credential"),
        (f"- {{name: a, role: admin, token_sha256: [{sha256('')}]}}", "empty token"),
        (f"- {{name: a, role: editor, token_sha256: [{DIGEST}], node_ids: [x]}}", "is no node"),
        (f"- {{name: a, role: node, token_sha256: [{DIGEST}], node_ids: ['a*b']}}", "'a*b' is no node id"),
        (f"- {{name: a, role: node, token_sha256: [{DIGEST}], node_ids: ['*']}}", "'*' is no node id"),
        (f"- &a {{name: a, role: admin, token_sha256: [{DIGEST}]}}\n- *a", "a stands there twice"),
        (
            f"- {{name: a, role: admin, token_sha256: [{DIGEST}]}}\n"
            f"- {{name: b, role: viewer, token_sha256: [{DIGEST}]}}",
            "a and b have the same token",
        ),
        (
            "- {name: a, role: admin, certificates: [x]}\n- {name: b, role: viewer, certificates: [x]}",
            "a and b have the same certificate",
        ),
    ],
)
def test_a_file_that_cannot_be_used(text: str, says: str) -> None:
    with pytest.raises(AccessError) as caught:
        AccessList.parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert DIGEST not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"access file .*nowhere: no such file or directory"):
        AccessList.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("pattern", "node_id", "may"),
    [
        ("edge", "edge", True),
        ("edge", "edge-0", True),
        ("edge", "edge-12", True),
        ("edge", "edge-x", False),
        ("edge", "edge-", False),
        ("edge", "edge1", False),
        ("edge", "", False),
        ("edge-*", "edge-", True),
        ("edge-*", "edge-anything", True),
        ("edge-*", "edge", False),
    ],
)
def test_which_nodes_one_may_be(pattern: str, node_id: str, may: bool) -> None:
    assert Principal(name=pattern.removesuffix("*"), role=Role.NODE, node_ids=[pattern]).may_be(node_id) is may


def test_the_name_is_the_node_id_where_none_is_given() -> None:
    principal = Principal(name="edge", role=Role.NODE)
    assert principal.may_be("edge")
    assert principal.may_be("edge-3")
    assert not principal.may_be("core")


def test_an_entry_is_read_as_it_was_written() -> None:
    written = Principal(
        name="edge",
        role=Role.NODE,
        token_digests=frozenset({bytes.fromhex(DIGEST)}),
        certificates=frozenset({"edge.example"}),
        node_ids=("edge-*",),
    )
    assert AccessList.parse(entry_text(written)).principals == (written,)


def test_a_signature_says_who_it_is_and_for_whom() -> None:
    principal = Principal(name="ci", role=Role.EDITOR)
    assert principal.signature("") == principal.signature("ci") == "ci"
    assert principal.signature("bob@laptop") == "ci (bob@laptop)"
    assert len(principal.signature("x" * 300)) == 256


def test_no_digest_is_shown_in_what_is_printed() -> None:
    assert DIGEST not in repr(parse(entry("admin", token_sha256=[DIGEST])).principals)
    assert bytes.fromhex(DIGEST).hex() not in repr(parse(entry("admin", token_sha256=[DIGEST])).principals)


def test_nobody_is_another_s_node_because_it_is_called_like_a_worker() -> None:
    edge, edge_1 = entry("node", "edge"), entry("node", "edge-1", token_sha256=[DIGEST])
    with pytest.raises(AccessError, match=r"node edge-1 of edge-1 has the id of a worker of edge's node edge:"):
        parse(edge_1, edge)
    with pytest.raises(AccessError, match=r"node edge-1 of other has the id of a worker of edge's node edge:"):
        parse(edge, {**edge_1, "name": "other", "node_ids": ["a", "edge-1"]})
    parse(edge, {**edge_1, "node_ids": ["west"]})
    parse({**edge, "node_ids": ["edge", "edge-1"]}, {**edge_1, "node_ids": ["edge-*"]})
    parse(edge, {**edge_1, "role": "viewer"})
