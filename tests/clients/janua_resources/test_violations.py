from janua.config.v1.route_pb2 import Route
from janua_resources.violations import DUPLICATE, INVALID_FIELD, first_per_field, violation

ROUTE = Route(name="chat")


def test_a_violation_reads_as_one_line() -> None:
    assert str(violation(ROUTE, "match", "is wrong")) == "route 'chat': match: is wrong"
    assert str(violation(ROUTE, "", "is wrong")) == "route 'chat': is wrong"


def test_only_the_first_violation_of_a_field_is_kept() -> None:
    first = violation(ROUTE, "match", "one", INVALID_FIELD)
    second = violation(ROUTE, "match", "two", DUPLICATE)
    elsewhere = violation(Route(name="other"), "match", "three")
    assert first_per_field([first, second, elsewhere]) == [first, elsewhere]
