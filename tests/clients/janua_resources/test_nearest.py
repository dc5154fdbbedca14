import pytest
from janua_resources.nearest import did_you_mean


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("polcy", "; did you mean 'policy'?"),
        ("Policy", "; did you mean 'policy'?"),
        ("least_requests", "; did you mean 'least_request'?"),
        ("zzz", ""),
        ("policy" * 100_000, ""),
    ],
)
def test_the_nearest_known_name_is_offered(word: str, hint: str) -> None:
    assert did_you_mean(word, ["policy", "least_request", "name"]) == hint


def test_the_name_is_offered_as_it_is_written() -> None:
    assert did_you_mean("roundrobin", ["ROUND_ROBIN"]) == "; did you mean 'ROUND_ROBIN'?"
