from janua_resources.quoting import quoted


def test_text_stays_on_one_line_and_short() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted("x" * 100) == f"'{'x' * 100}'"
    assert len(quoted("x" * 1_000_000)) < 110
