"""Edits of headers, one after the other."""

from gateway.edits import HeaderEdits, edited_mapping, edited_pairs, header_edits


def test_what_is_set_stands_for_whatever_was_there() -> None:
    edits = header_edits([b"x-b"], [(b"x-a", b"2")])
    assert edits.apply([(b"x-a", b"1"), (b"x-a", b"1"), (b"x-b", b"1"), (b"x-c", b"1")]) == [
        (b"x-c", b"1"),
        (b"x-a", b"2"),
    ]


def test_later_edits_are_made_to_what_earlier_ones_set() -> None:
    first = header_edits([], [(b"x-a", b"1"), (b"x-b", b"1")])
    second = header_edits([b"x-a"], [(b"x-b", b"2")])
    headers = [(b"x-a", b"0"), (b"x-b", b"0")]
    assert first.then(second).apply(headers) == second.apply(first.apply(headers)) == [(b"x-b", b"2")]


def test_nothing_to_change_is_the_very_same() -> None:
    pairs, mapping = [(b"a", b"1")], {b"a": b"1"}
    assert edited_pairs(None, pairs) is pairs
    assert edited_mapping(None, mapping) is mapping
    assert edited_mapping(HeaderEdits(frozenset({b"a"})), mapping) == {}
