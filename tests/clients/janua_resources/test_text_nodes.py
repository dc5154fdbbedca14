"""YAML and JSON are read into the same trees; what is wrong has a place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from janua_resources.nodes import ListNode, MapNode, Node, Place, Scalar
from janua_resources.text_nodes import MAX_BYTES, read_text

Plain = str | None | list["Plain"] | dict[str, "Plain"]


def read(text: str) -> tuple[list[Node], list[str]]:
    errors: list[str] = []
    roots = read_text(text, lambda place, message: errors.append(f"{place.line}:{place.column} {message}"))
    return roots, errors


def plain(node: Node) -> Plain:
    match node:
        case Scalar():
            return None if node.is_null else node.text
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {key.text: plain(value) for key, value in node.entries}


def read_one(text: str) -> Plain:
    [root], errors = read(text)
    assert errors == []
    return plain(root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": "1"}),
        ("a: 010\nb: 1.0\nc: 2027-01-01\nd: yes", {"a": "010", "b": "1.0", "c": "2027-01-01", "d": "yes"}),
        ("a:\nb: ~\nc: null\nd: ''\ne: 'null'", {"a": None, "b": None, "c": None, "d": "", "e": "null"}),
        ("- [a, {b: c}]\n- |\n  x\n  y\n", [["a", {"b": "c"}], "x\ny\n"]),
        ("a: !!str 1\nb: !!seq []\nc: !!map {}", {"a": "1", "b": [], "c": {}}),
        ("a: &x {b: c}\nd: *x", {"a": {"b": "c"}, "d": {"b": "c"}}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": "1", "b": "2", "c": "2"}),
        ("'<<': 1", {"<<": "1"}),
        ("\ufeffa: 1", {"a": "1"}),
        ("{'a': 1, # comment\n b: [c,],}", {"a": "1", "b": ["c"]}),
        ('{"a": 1, # comment\n b: c}', {"a": "1", "b": "c"}),
    ],
)
def test_yaml_is_read_without_guessing_types(text: str, value: Plain) -> None:
    assert read_one(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, "b": [true, null, -1.5e3, "x"]}', {"a": "1", "b": ["true", None, "-1.5e3", "x"]}),
        ('\n{\n\t"a":\t{}\n}\n', {"a": {}}),
        ('{"a": "\\ud83d\\ude00\\/\\u007f"}', {"a": "\U0001f600/\x7f"}),
        ('{"a": "\x7f"}', {"a": "\x7f"}),
        ('{"<": "null"}', {"<": "null"}),
        ("{}", {}),
    ],
)
def test_json_is_read_also_where_it_is_no_yaml(text: str, value: Plain) -> None:
    assert read_one(text) == value


def test_places_count_from_one_in_characters() -> None:
    for text in ('é: x\nb:\n  - "ü": 1\n', '{"é": "x",\n"b":\n  [{"ü": 1}]}'):
        [root], _ = read(text)
        assert isinstance(root, MapNode)
        [(_, first), (_, second)] = root.entries
        assert isinstance(second, ListNode)
        [inner] = second.items
        assert isinstance(inner, MapNode)
        [(key, _)] = inner.entries
        assert first.place.line == 1
        assert key.place == Place(3, 5)


def test_many_documents_are_read_up_to_an_error_of_syntax() -> None:
    roots, errors = read("a: 1\n---\nb: 2\n---\nc: ]\n---\nd: 4\n")
    assert [plain(root) for root in roots] == [{"a": "1"}, {"b": "2"}]
    assert [error.partition(" ")[0] for error in errors] == ["5:4"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [1, 2", "2:1 is not YAML: did not find expected ',' or ']' while parsing a flow sequence"),
        ("a: b\n\tc: d", "2:1 is not YAML: found a tab character"),
        ("a: 'x", "1:6 is not YAML: found unexpected end of stream"),
        ("a: b: c", "1:5 is not YAML: mapping values are not allowed in this context"),
        ("a: *x", "1:4 alias '*x' has no anchor before it"),
        ("a: &x [*x]", "1:8 alias '*x' has no anchor before it"),
        ("a: &x 1\n---\nb: *x", "3:4 alias '*x' has no anchor before it"),
        ("a: 1\nb: 2\na: 3", "3:1 key 'a' is there already, at 1:1"),
        ("{a: {b: 1, b: 2}}", "1:12 key 'b' is there already, at 1:6"),
        ("[a]: 1", "1:1 a key must be text"),
        ("a: &x {}\nb:\n  <<: *x", "3:3 merge keys (<<) are not supported"),
        ("a: !!binary x", "1:4 tag '!!binary' is not supported"),
        ("a: !!python/object:os.system x", "1:4 tag '!!python/object:os.system' is not supported"),
        ("a: !mine {}", "1:4 tag '!mine' is not supported"),
        ("a: 1\nb: x\x01", "2:5 character U+0001 is not allowed here"),
        ("a: \ud800", "1:4 character U+D800 is not allowed here"),
        ("a: [${A}]", "1:6 is not YAML: did not find expected ',' or ']' while parsing a flow sequence; put"),
        ('{"a": 1, "a": 2}', "1:10 key 'a' is there already, at 1:2"),
        ('{\n\t"a": ["1" 2]}', "2:12 is not JSON: expected ',' or ']'"),
        ('{\n"a" 1}', "2:5 is not JSON: expected ':'"),
        ('{"a": 1 "b": 2}', "1:9 is not JSON: expected ',' or '}'"),
        ('{"a": }}', "1:7 is not JSON: expected a value"),
        ('{"a": 01x,', "1:8 is not JSON: expected ',' or '}'"),
        ('{"a": "x\ny"', "1:9 is not JSON: Invalid control character at"),
        ('{"a": "x', "1:7 is not JSON: Unterminated string starting at"),
        ('{"a": "\\x"}}', "1:8 is not JSON: Invalid \\escape"),
        ('{"a": 1}}', "1:9 there is more after the end of the JSON value"),
        ('{"a": "\\ud800"}', "1:7 is not text: half of a surrogate pair"),
        ('{"a": 1, b]', "1:10 is not JSON: expected a key in double quotes"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, error: str) -> None:
    _, [found] = read(text)
    assert found.startswith(error)


def test_errors_that_can_be_skipped_are_all_found() -> None:
    _, errors = read("a: !x 1\na: 2\n[b]: 3\n<<: 4\n")
    assert [error.partition(" ")[0] for error in errors] == ["1:4", "2:1", "3:1", "4:1"]


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 100_000, '{"a":' + "[" * 1_000_000, "? " * 100_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    _, [error] = read(text)
    assert "nested deeper than 64 levels" in error


def test_aliases_cannot_stand_for_a_huge_tree() -> None:
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 30)]
    _, [error] = read("\n".join(["l0: &l0 [x, x]", *levels]))
    assert "stands for more than 1,000,000 values" in error


@pytest.mark.parametrize(
    ("text", "nodes"), [("a: [b, c]", 5), ("a: b\n---\nc", 4), ('{"a": [1]}', 3), ("a: &x [b]\nc: *x", 7)]
)
def test_a_text_cannot_have_more_nodes_than_memory_holds(text: str, nodes: int) -> None:
    errors: list[str] = []
    read_text(text, lambda _, message: errors.append(message), max_nodes=nodes)
    assert errors == []
    read_text(text, lambda _, message: errors.append(message), max_nodes=nodes - 1)
    assert errors == [f"the text stands for more than {nodes - 1} values"]


def test_a_text_over_16_mib_is_refused_unread() -> None:
    assert read("# " + "x" * (MAX_BYTES - 2)) == ([], [])
    for text in ("[" * (MAX_BYTES + 1), "ü" * (MAX_BYTES // 2 + 1)):
        assert read(text) == ([], ["1:1 the text is larger than 16 MiB"])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def as_text(value: object) -> Plain:
    if isinstance(value, list):
        return [as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    return value if isinstance(value, str) or value is None else json.dumps(value)


@settings(deadline=None)  # a busy machine is no failure
@given(st.dictionaries(st.text(), JSON_VALUES), st.booleans(), st.sampled_from([None, 2, "\t"]))
def test_all_json_is_read(value: dict[str, object], ensure_ascii: bool, indent: int | str | None) -> None:
    assert read_one(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)) == as_text(value)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(alphabet="{}[]\",:-\n \t\\'ab1&*!<#|>?$%\ud800\x00\u2028"))
def test_any_text_is_read_or_refused_with_a_place_within_it(text: str) -> None:
    def report(place: Place, message: str) -> None:
        assert 1 <= place.line <= len(text.splitlines()) + 1
        assert place.column >= 1
        assert message

    read_text(text, report)
