import pytest
from janua_resources.regexes import compile_regex


def test_the_whole_text_must_match() -> None:
    regex = compile_regex("/v1/[a-z]+")
    assert regex.fullmatch("/v1/chat")
    assert not regex.fullmatch("/v1/chat/completions")
    assert not regex.fullmatch("x/v1/chat")


@pytest.mark.parametrize("pattern", ["(", "a**", "[z-a]", "(?=a)", r"(a)\1", "a{1001}", "((a{100}){100}){100}"])
def test_what_re2_refuses_is_refused_with_its_reason(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"is not an RE2 expression: ."):
        compile_regex(pattern)
    assert capfd.readouterr().err == ""


def test_a_long_expression_is_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match="not an RE2 expression") as caught:
        compile_regex("(" + "x" * 100_000)
    assert len(str(caught.value)) < 400
